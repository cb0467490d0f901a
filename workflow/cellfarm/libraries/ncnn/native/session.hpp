// A model that ncnn has loaded, like that of libraries/ncnn/backend.py.
#pragma once

#include "events.hpp"

#include "net.h"

#include <string>
#include <vector>

using Shape = std::vector<int>;

class Session {
public:
    // Throws Unsupported if the processor is not the CPU, std::runtime_error if the batch is not 1 or if
    // files do not load.
    explicit Session(const Request& request);

    // The size of a sample of all inputs: raw values of 4 bytes, one input after the other.
    size_t sample_bytes() const;
    void set_inputs(const char* sample);
    // Run the model once. An extractor computes a blob only once, so each run needs a new one.
    void invoke();
    // All outputs of the last run, as raw values of 4 bytes, one output after the other.
    std::string outputs() const;
    // The net's settings, as JSON.
    std::string actual() const;

    // Time the layers in runs layer by layer, as libraries/ncnn/profiler.py explains.
    void profile(int unrecorded, int recorded) const;

private:
    struct Step {
        const ncnn::Layer* layer;
        // blobs that it computes, each with the layout to extract it in
        std::vector<std::pair<int, int>> results;
    };
    std::vector<Step> executed() const;

    ncnn::Net net_;
    std::vector<Shape> input_shapes_, output_shapes_;
    std::vector<ncnn::Mat> inputs_, outputs_;
};
