// What the system counts and lets be set, as workflow/cellfarm/runner/{system,page_cache,affinity}.py do it.
// What it does not tell is empty.
#pragma once

#include "events.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// The monotonic clock, in ns.
int64_t clock_ns();

// Run on these cores; returns those that the system reads back.
std::vector<double> pin(const std::vector<int>& cores);

// A folder's files, put out of the page cache, or read from beginning to end (returns ms).
void evict(const std::string& folder);
double read_all(const std::string& folder);
// The share of the folder's pages that are in the page cache.
std::optional<double> resident_share(const std::string& folder);

// The resident set now and its peak, in units of 2^20 bytes; letting the peak start anew.
std::optional<double> rss_mb();
std::optional<double> peak_rss_mb();
bool reset_peak();
std::optional<double> load_average();

// Counters of this process and of the machine, to tell what happened between two looks.
struct Snapshot {
    int64_t wall_ns, process_ns;
    std::optional<double> busy_ticks, stolen_ticks, pressure_us;
    long voluntary_switches, involuntary_switches;

    static Snapshot take();
};

// The event `resources` of what happened.
Event resources_between(const Snapshot& before, const Snapshot& after);
