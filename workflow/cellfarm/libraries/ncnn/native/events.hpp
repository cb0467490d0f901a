// The runner's request and its events, which have the meaning that workflow/cellfarm/runner gives them.
#pragma once

#include <istream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

// ncnn cannot do the task, which is a result and no fault; the message is the cell's reason.
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A request: lines `name=value`, with dots in nested names and commas between the values of a list. Unknown
// values have no line.
class Request {
public:
    explicit Request(std::istream& lines);

    bool has(const std::string& name) const { return values_.count(name) != 0; }
    // These throw std::runtime_error if the request does not have the name.
    const std::string& text(const std::string& name) const;
    double number(const std::string& name) const;
    std::vector<int> whole_numbers(const std::string& name) const;

private:
    std::map<std::string, std::string> values_;
};

// Send events to standard output, and what is printed from now on to standard error.
void open_events();

// An event, sent as a line of JSON. Unknown values are null.
class Event {
public:
    explicit Event(const std::string& name);

    Event& put(const std::string& key, std::optional<double> value);
    Event& put(const std::string& key, const std::string& value);
    Event& put(const std::string& key, const std::vector<double>& values);
    // The value is JSON already.
    Event& put_json(const std::string& key, const std::string& json);
    void send();

private:
    std::string text_;
};

std::string as_json(const std::string& text);
std::string as_json(const std::vector<double>& values);
std::string as_json(double value);
