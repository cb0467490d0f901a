#include "session.hpp"

#include "system.hpp"

#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>
#include <set>

namespace fs = std::filesystem;

static const int AS_IS = 1, PLAIN = 0; // layouts for Extractor::extract: the next layer's, the caller's

static size_t size_of(const Shape& shape)
{
    return std::accumulate(shape.begin(), shape.end(), size_t(1), std::multiplies<size_t>());
}

// The shapes of model.inputs or model.outputs.
static std::vector<Shape> shapes_of(const Request& request, const std::string& tensors)
{
    std::vector<Shape> shapes;
    for (int i = 0; request.has(tensors + "." + std::to_string(i) + ".shape"); i++)
        shapes.push_back(request.whole_numbers(tensors + "." + std::to_string(i) + ".shape"));
    return shapes;
}

// The only model*.ncnn.param of a folder.
static fs::path param_file(const std::string& folder)
{
    fs::path path;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.rfind("model", 0) != 0 || entry.path().extension() != ".param")
            continue;
        if (!path.empty())
            throw std::runtime_error("ncnn: there is more than one .param file");
        path = entry.path();
    }
    if (path.empty())
        throw std::runtime_error("ncnn: there is no .param file");
    return path;
}

Session::Session(const Request& request)
    : input_shapes_(shapes_of(request, "model.inputs")), output_shapes_(shapes_of(request, "model.outputs"))
{
    if (request.text("processor") != "cpu")
        throw Unsupported("the native runner of ncnn runs on the cpu only");
    for (const Shape& shape : input_shapes_)
        if (shape.empty() || shape[0] != 1 || shape.size() > 5)
            throw std::runtime_error("ncnn: an input's batch must be 1, its other sizes 4 at most");
    const fs::path param = param_file(request.text("artifact"));
    const bool half = param.filename().string().rfind("model.fp16.", 0) == 0;
    net_.opt.num_threads = int(request.number("threads"));
    // By default ncnn computes in half precision on processors that can.
    net_.opt.use_fp16_packed = net_.opt.use_fp16_storage = net_.opt.use_fp16_arithmetic = half;
    net_.opt.use_bf16_storage = false;
    // Options must be set before load_param, where layers choose their implementation.
    if (net_.load_param(param.c_str()) != 0)
        throw std::runtime_error("ncnn: the .param file does not load");
    if (net_.load_model(fs::path(param).replace_extension(".bin").c_str()) != 0)
        throw std::runtime_error("ncnn: the .bin file does not load");
}

size_t Session::sample_bytes() const
{
    size_t values = 0;
    for (const Shape& shape : input_shapes_)
        values += size_of(shape);
    return values * 4;
}

// A tensor without its batch: ncnn has at most three sizes and channels.
static ncnn::Mat as_mat(const Shape& shape, const char* values)
{
    const Shape sizes(shape.begin() + 1, shape.end());
    const size_t count = sizes.size();
    ncnn::Mat mat;
    if (count <= 1)
        mat.create(count ? sizes[0] : 1, size_t(4));
    else if (count == 2)
        mat.create(sizes[1], sizes[0], size_t(4));
    else if (count == 3)
        mat.create(sizes[2], sizes[1], sizes[0], size_t(4));
    else
        mat.create(sizes[3], sizes[2], sizes[1], sizes[0], size_t(4));
    const size_t bytes = size_t(mat.w) * mat.h * mat.d * 4;
    for (int channel = 0; channel < mat.c; channel++)
        memcpy(static_cast<char*>(mat.data) + mat.cstep * 4 * channel, values + bytes * channel, bytes);
    return mat;
}

void Session::set_inputs(const char* sample)
{
    inputs_.clear();
    for (const Shape& shape : input_shapes_) {
        inputs_.push_back(as_mat(shape, sample));
        sample += size_of(shape) * 4;
    }
}

static std::string blob_name(const char* kind, size_t position)
{
    return kind + std::to_string(position);
}

static void feed(ncnn::Extractor& extractor, const std::vector<ncnn::Mat>& inputs)
{
    for (size_t i = 0; i < inputs.size(); i++)
        extractor.input(blob_name("in", i).c_str(), inputs[i]);
}

void Session::invoke()
{
    ncnn::Extractor extractor = net_.create_extractor();
    feed(extractor, inputs_);
    std::vector<ncnn::Mat> outputs(output_shapes_.size());
    for (size_t i = 0; i < outputs.size(); i++) {
        const std::string blob = blob_name("out", i);
        const int status = extractor.extract(blob.c_str(), outputs[i]);
        if (status != 0)
            throw std::runtime_error("ncnn: extracting " + blob + " failed with " + std::to_string(status));
    }
    outputs_.swap(outputs);
}

std::string Session::outputs() const
{
    std::string content;
    for (size_t i = 0; i < outputs_.size(); i++) {
        const ncnn::Mat& mat = outputs_[i];
        const size_t bytes = size_t(mat.w) * mat.h * mat.d * 4;
        if (mat.elemsize != 4 || mat.elempack != 1 || bytes * mat.c != size_of(output_shapes_[i]) * 4)
            throw std::runtime_error("ncnn: " + blob_name("out", i) + " has not the size of the model's output");
        for (int channel = 0; channel < mat.c; channel++)
            content.append(static_cast<const char*>(mat.data) + mat.cstep * 4 * channel, bytes);
    }
    return content;
}

std::string Session::actual() const
{
    const auto& options = net_.opt;
    const auto as_field = [](const char* name, bool value) {
        return as_json(std::string(name)) + (value ? ": true" : ": false");
    };
    return "{\"runner\": \"native\", \"provider\": \"cpu\", \"threads\": " + std::to_string(options.num_threads)
        + ", \"half\": {" + as_field("use_fp16_packed", options.use_fp16_packed) + ", "
        + as_field("use_fp16_storage", options.use_fp16_storage) + ", "
        + as_field("use_fp16_arithmetic", options.use_fp16_arithmetic) + "}}";
}

// The layers that an inference runs, in the file's order, which is an order of execution. Input and Split
// compute nothing.
std::vector<Session::Step> Session::executed() const
{
    const auto& blobs = net_.blobs();
    const auto& layers = net_.layers();
    std::set<int> outputs, needed;
    for (size_t i = 0; i < output_shapes_.size(); i++)
        for (size_t blob = 0; blob < blobs.size(); blob++)
            if (blobs[blob].name == blob_name("out", i))
                outputs.insert(int(blob));
    std::vector<int> open(outputs.begin(), outputs.end());
    while (!open.empty()) {
        const int producer = blobs[open.back()].producer;
        open.pop_back();
        if (producer >= 0 && needed.insert(producer).second)
            open.insert(open.end(), layers[producer]->bottoms.begin(), layers[producer]->bottoms.end());
    }
    std::vector<Step> steps;
    for (const int position : needed) {
        const ncnn::Layer* const layer = layers[position];
        if (layer->type == "Input" || layer->type == "Split")
            continue;
        Step step{layer, {}};
        for (const int top : layer->tops)
            step.results.emplace_back(top, outputs.count(top) ? PLAIN : AS_IS);
        steps.push_back(step);
    }
    return steps;
}

void Session::profile(int unrecorded, int recorded) const
{
    const std::vector<Step> steps = executed();
    // Only the thread that extracts allocates blobs; all threads allocate workspace.
    ncnn::UnlockedPoolAllocator blobs;
    ncnn::PoolAllocator workspace;
    std::vector<std::vector<double>> ms(steps.size());
    std::vector<double> total_ms;
    for (int run = 0; run < unrecorded + recorded; run++) {
        const int64_t run_start_ns = clock_ns();
        ncnn::Extractor extractor = net_.create_extractor();
        extractor.set_blob_allocator(&blobs);
        extractor.set_workspace_allocator(&workspace);
        feed(extractor, inputs_);
        std::vector<int64_t> times_ns;
        for (const Step& step : steps) {
            const int64_t start_ns = clock_ns();
            for (const auto& [blob, layout] : step.results) {
                ncnn::Mat mat; // freed at once: the next layer may reuse or overwrite it
                if (extractor.extract(blob, mat, layout) != 0)
                    throw std::runtime_error("ncnn: the layer " + step.layer->name + " failed");
            }
            times_ns.push_back(clock_ns() - start_ns);
        }
        const int64_t run_end_ns = clock_ns();
        if (run < unrecorded)
            continue;
        total_ms.push_back((run_end_ns - run_start_ns) / 1e6);
        for (size_t i = 0; i < steps.size(); i++)
            ms[i].push_back(times_ns[i] / 1e6);
    }
    std::string operators;
    for (size_t i = 0; i < steps.size(); i++)
        operators += (i ? ", " : "") + ("{\"name\": " + as_json(steps[i].layer->name)) + ", \"type\": "
            + as_json(steps[i].layer->type) + ", \"node\": null, \"ms\": " + as_json(ms[i]) + "}";
    Event("operators")
        .put_json("operators", "[" + operators + "]")
        .put("total_ms", total_ms)
        .put("method", "ncnn extraction layer by layer, pooled memory")
        .send();
}
