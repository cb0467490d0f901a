#include "modes.hpp"

#include "session.hpp"
#include "system.hpp"

#include "cpu.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <time.h>

static const int BLOCKS = 8;          // parts of a series whose medians are compared
static const int UNRECORDED_RUNS = 5; // inferences before the first that a profile counts

static void phase(const std::string& name)
{
    Event("phase").put("name", name).send();
}

static double since_ms(int64_t start_ns)
{
    return (clock_ns() - start_ns) / 1e6;
}

static std::string read_file(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error("cannot read " + path);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

static void write_file(const std::string& path, const std::string& content)
{
    std::ofstream file(path, std::ios::binary);
    if (!file.write(content.data(), std::streamsize(content.size())).flush())
        throw std::runtime_error("cannot write " + path);
    Event("outputs").send();
}

// The raw samples of a file, which must be complete.
static std::string read_samples(const Request& request, const Session& session)
{
    std::string samples = read_file(request.text("inputs"));
    if (samples.empty() || samples.size() % session.sample_bytes() != 0)
        throw std::runtime_error("the file of inputs holds no whole samples");
    return samples;
}

// The phases `import`, `read` and `load`. Nothing is imported: without a model, the library only looks at
// the processor.
static std::unique_ptr<Session> load(const Request& request)
{
    phase("import");
    int64_t start_ns = clock_ns();
    ncnn::get_cpu_count();
    Event("done")
        .put("name", "import")
        .put("ms", since_ms(start_ns))
        .put("library_version", LIBRARY_VERSION)
        .send();
    phase("read");
    Event("done").put("name", "read").put("ms", read_all(request.text("artifact"))).send();
    phase("load");
    start_ns = clock_ns();
    auto session = std::make_unique<Session>(request);
    Event("done")
        .put("name", "load")
        .put("ms", since_ms(start_ns))
        .put_json("actual", session->actual())
        .send();
    return session;
}

static double median(std::vector<double> values)
{
    const size_t middle = values.size() / 2;
    std::sort(values.begin(), values.end());
    return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Whether the blocks of a series have about the same median, apart from the highest and the lowest.
static bool is_settled(const std::vector<double>& latencies_ms, double tolerance)
{
    const size_t size = latencies_ms.size() / BLOCKS;
    if (size == 0)
        return false;
    std::vector<double> medians;
    for (size_t block = 0; block < BLOCKS; block++)
        medians.push_back(median(
            {latencies_ms.begin() + long(block * size), latencies_ms.begin() + long((block + 1) * size)}));
    std::sort(medians.begin(), medians.end());
    const double middle = median(medians);
    return middle - medians[1] <= tolerance * middle && medians[BLOCKS - 2] - middle <= tolerance * middle;
}

static void sleep_until(int64_t time_ns)
{
    const timespec time{time_ns / 1000000000, time_ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}

// Latencies in ms, in order, from the second inference of the process on.
static std::vector<double> series(Session& session, const Request& request)
{
    const bool spaced = request.text("pattern.kind") == "spaced";
    const int64_t interval = spaced ? int64_t(request.number("pattern.interval_ms") * 1e6) : 0;
    const size_t minimum = size_t(request.number("samples.min"));
    const size_t maximum = size_t(request.number("samples.max"));
    const double seconds = request.number("samples.seconds");
    const double longest = request.has("samples.longest_s") ? request.number("samples.longest_s") : seconds;
    const double tolerance = request.number("target_half_width");
    std::vector<double> latencies_ms;
    const int64_t start = clock_ns(), last = start + int64_t(longest * 1e9);
    int64_t due = start, end = start + int64_t(seconds * 1e9);
    while (latencies_ms.size() < maximum) {
        if (latencies_ms.size() >= minimum && clock_ns() >= end) {
            if (end >= last || is_settled(latencies_ms, tolerance))
                break;
            // The next look is after half as much time again.
            end = std::min(last, end + std::max((end - start) / 2, int64_t(1000000)));
            continue;
        }
        if (interval) {
            due += interval;
            sleep_until(due);
        }
        const int64_t start_ns = clock_ns();
        session.invoke();
        latencies_ms.push_back(since_ms(start_ns));
    }
    return latencies_ms;
}

// A start that ends with the first inference, or in mode `measure` with a series of inferences.
static void measure(const Request& request)
{
    const std::string& artifact = request.text("artifact");
    const std::string& mode = request.text("mode");
    if (mode == "cold")
        evict(artifact);
    else
        read_all(artifact); // an idle system reclaims pages
    Event("page_cache").put("resident_share", resident_share(artifact)).send();
    const std::unique_ptr<Session> session = load(request);
    const auto load_rss = rss_mb(), peak_load_rss = peak_rss_mb();
    session->set_inputs(read_samples(request, *session).data());
    Event("resources")
        .put("load_rss_mb", load_rss)
        .put("peak_load_rss_mb", peak_load_rss)
        .put("peak_was_reset", double(reset_peak()))
        .send();
    phase("first");
    const int64_t start_ns = clock_ns();
    session->invoke();
    Event("done").put("name", "first").put("ms", since_ms(start_ns)).send();
    write_file(request.text("outputs"), session->outputs());
    if (mode == "measure") {
        phase("series");
        const Snapshot before = Snapshot::take();
        const std::vector<double> ms = series(*session, request);
        const Snapshot after = Snapshot::take();
        Event("samples").put("ms", ms).put("seconds", (after.wall_ns - before.wall_ns) / 1e9).send();
        resources_between(before, after).put("peak_inference_rss_mb", peak_rss_mb()).send();
    }
    Event("after").put("load_1min", load_average()).send();
}

// Held-out inputs, or labelled pictures; nothing is timed.
static void infer_all(const Request& request)
{
    const bool heldout = request.text("mode") == "quality";
    if (!request.has("inputs"))
        throw Unsupported("too many for the native runner, which reads them as floats");
    const std::unique_ptr<Session> session = load(request);
    phase(request.text("mode"));
    const std::string samples = read_samples(request, *session);
    size_t count = samples.size() / session->sample_bytes();
    int64_t end = std::numeric_limits<int64_t>::max();
    if (heldout) {
        count = std::min(count, size_t(request.number("quality.samples")));
        end = clock_ns() + int64_t(request.number("quality.seconds") * 1e9);
    }
    std::string outputs;
    for (size_t sample = 0; sample < count && (sample == 0 || clock_ns() <= end); sample++) {
        session->set_inputs(samples.data() + sample * session->sample_bytes());
        session->invoke();
        outputs += session->outputs();
    }
    write_file(request.text("outputs"), outputs);
}

static void profile(const Request& request)
{
    const std::unique_ptr<Session> session = load(request);
    phase("profile");
    session->set_inputs(read_samples(request, *session).data());
    session->profile(UNRECORDED_RUNS, int(request.number("profile.runs")));
}

void run(const Request& request)
{
    Event pinned("pinned");
    if (request.has("cores"))
        pinned.put("cores", pin(request.whole_numbers("cores")));
    else
        pinned.put("cores", std::nullopt);
    pinned.send();
    const std::string& mode = request.text("mode");
    if (mode == "measure" || mode == "start" || mode == "cold")
        measure(request);
    else if (mode == "quality" || mode == "accuracy")
        infer_all(request);
    else if (mode == "profile")
        profile(request);
    else
        throw Unsupported("the native runner has no launches of mode " + mode);
}
