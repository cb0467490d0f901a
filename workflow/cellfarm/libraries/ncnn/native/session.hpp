// One model that ncnn has loaded, as libraries/ncnn/backend.py does it.
#pragma once

#include "events.hpp"

#include "net.h"

#include <string>
#include <vector>

using Shape = std::vector<int>;

class Session {
public:
    // Throws Unsupported for another processor than the CPU, std::runtime_error for a batch that is not 1
    // and for files that do not load.
    explicit Session(const Request& request);

    // How long one sample of all inputs is: raw values of 4 bytes, one input after the other.
    size_t sample_bytes() const;
    void set_inputs(const char* sample);
    // Run the model once: an extractor computes each blob only once, so each run needs one.
    void invoke();
    // All outputs of the last run, as raw values of 4 bytes, one output after the other.
    std::string outputs() const;
    // The settings as the net holds them, as JSON.
    std::string actual() const;

    // Make runs of the layers one by one; see libraries/ncnn/profiler.py for how and why.
    void profile(int unrecorded, int recorded) const;

private:
    struct Step {
        const ncnn::Layer* layer;
        // blobs that it makes, and whether each is taken in the layout that the next layer reads
        std::vector<std::pair<int, int>> results;
    };
    std::vector<Step> steps() const;

    ncnn::Net net_;
    std::vector<Shape> input_shapes_, output_shapes_;
    std::vector<ncnn::Mat> inputs_, outputs_;
};
