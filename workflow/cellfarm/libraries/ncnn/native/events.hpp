// What the runner is asked, and what it tells: see workflow/cellfarm/runner for the meaning of both.
#pragma once

#include <istream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

// What ncnn cannot do is a result and no fault; the message is the cell's reason.
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A request: lines `name=value`, with dots in the names of what is nested and commas between the values of
// a list. What is not known has no line.
class Request {
public:
    explicit Request(std::istream& lines);

    bool has(const std::string& name) const { return values_.count(name) != 0; }
    // These throw std::runtime_error for a name that the request does not have.
    const std::string& text(const std::string& name) const;
    double number(const std::string& name) const;
    std::vector<int> whole_numbers(const std::string& name) const;

private:
    std::map<std::string, std::string> values_;
};

// From here on events go to what was standard output, and standard output is standard error.
void open_events();

// An event, put together and sent as one line of JSON. What is not known is null.
class Event {
public:
    explicit Event(const std::string& name);

    Event& put(const std::string& key, std::optional<double> value);
    Event& put(const std::string& key, const std::string& value);
    Event& put(const std::string& key, const std::vector<double>& values);
    // A value that is JSON already.
    Event& put_json(const std::string& key, const std::string& json);
    void send();

private:
    std::string text_;
};

std::string as_json(const std::string& text);
std::string as_json(const std::vector<double>& values);
std::string as_json(double value);
