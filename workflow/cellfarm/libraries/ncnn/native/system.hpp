// The system's counters and settings, like workflow/cellfarm/runner/{system,page_cache,affinity}.py. Values
// that the system does not report are empty.
#pragma once

#include "events.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// The monotonic clock, in ns.
int64_t clock_ns();

// Run on these cores; returns the cores that the system reads back.
std::vector<double> pin(const std::vector<int>& cores);

// Put a folder's files out of the page cache, or read them all (returns ms).
void evict(const std::string& folder);
double read_all(const std::string& folder);
// The share of the folder's pages that are in the page cache.
std::optional<double> resident_share(const std::string& folder);

// The resident set now and its peak, in units of 2^20 bytes; reset_peak starts the peak anew.
std::optional<double> rss_mb();
std::optional<double> peak_rss_mb();
bool reset_peak();
std::optional<double> load_average();

// Counters of this process and of the machine.
struct Snapshot {
    int64_t wall_ns, process_ns;
    std::optional<double> busy_ticks, stolen_ticks, pressure_us;
    long voluntary_switches, involuntary_switches;

    static Snapshot take();
};

// The event `resources` for the time between two snapshots.
Event resources_between(const Snapshot& before, const Snapshot& after);
