#include "events.hpp"

#include <cmath>
#include <cstdio>
#include <sstream>
#include <unistd.h>

static FILE* events = nullptr;

Request::Request(std::istream& lines)
{
    std::string line;
    while (std::getline(lines, line)) {
        const size_t end = line.find('=');
        if (end != std::string::npos)
            values_[line.substr(0, end)] = line.substr(end + 1);
    }
}

const std::string& Request::text(const std::string& name) const
{
    const auto entry = values_.find(name);
    if (entry == values_.end())
        throw std::runtime_error("the request has no " + name);
    return entry->second;
}

double Request::number(const std::string& name) const
{
    return std::stod(text(name));
}

std::vector<int> Request::whole_numbers(const std::string& name) const
{
    std::vector<int> numbers;
    std::istringstream parts(text(name));
    std::string part;
    while (std::getline(parts, part, ','))
        numbers.push_back(std::stoi(part));
    return numbers;
}

void open_events()
{
    // What the library prints goes to standard error.
    events = fdopen(dup(STDOUT_FILENO), "w");
    dup2(STDERR_FILENO, STDOUT_FILENO);
}

Event::Event(const std::string& name) : text_("{\"event\": " + as_json(name)) {}

Event& Event::put(const std::string& key, std::optional<double> value)
{
    return put_json(key, value ? as_json(*value) : "null");
}

Event& Event::put(const std::string& key, const std::string& value)
{
    return put_json(key, as_json(value));
}

Event& Event::put(const std::string& key, const std::vector<double>& values)
{
    return put_json(key, as_json(values));
}

Event& Event::put_json(const std::string& key, const std::string& json)
{
    text_ += ", " + as_json(key) + ": " + json;
    return *this;
}

void Event::send()
{
    fprintf(events, "%s}\n", text_.c_str());
    fflush(events);
}

std::string as_json(const std::string& text)
{
    std::string json = "\"";
    for (const char character : text) {
        if (character == '"' || character == '\\')
            json += '\\';
        // Control characters mean nothing in a name or a message.
        json += static_cast<unsigned char>(character) < 0x20 ? ' ' : character;
    }
    return json + "\"";
}

std::string as_json(double value)
{
    if (!std::isfinite(value))
        return "null";
    char text[32];
    snprintf(text, sizeof text, "%.15g", value);
    return text;
}

std::string as_json(const std::vector<double>& values)
{
    std::string json = "[";
    for (size_t i = 0; i < values.size(); i++)
        json += (i ? ", " : "") + as_json(values[i]);
    return json + "]";
}
