#include "system.hpp"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sched.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace fs = std::filesystem;

static const double RSS_LAG_MB = 1.0;

static int64_t read_clock(clockid_t clock)
{
    timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t clock_ns()
{
    return read_clock(CLOCK_MONOTONIC);
}

std::vector<double> pin(const std::vector<int>& cores)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int core : cores)
        CPU_SET(core, &set);
    // The system may refuse; the result is what it reads back.
    sched_setaffinity(0, sizeof set, &set);
    std::vector<double> pinned;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int core = 0; core < CPU_SETSIZE; core++)
            if (CPU_ISSET(core, &set))
                pinned.push_back(core);
    return pinned;
}

// A file's descriptor, closed at the end.
class Opened {
public:
    explicit Opened(const fs::path& path) : descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~Opened()
    {
        if (descriptor >= 0)
            close(descriptor);
    }
    Opened(const Opened&) = delete;
    const int descriptor;
};

static std::vector<fs::path> files_in(const std::string& folder)
{
    std::vector<fs::path> paths;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file())
            paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

void evict(const std::string& folder)
{
    for (const fs::path& path : files_in(folder)) {
        const Opened file(path);
        // Only clean pages can go.
        fsync(file.descriptor);
        posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED);
    }
}

double read_all(const std::string& folder)
{
    const std::unique_ptr<char[]> buffer(new char[1 << 20]);
    const int64_t start_ns = clock_ns();
    for (const fs::path& path : files_in(folder)) {
        const Opened file(path);
        ssize_t count;
        while ((count = read(file.descriptor, buffer.get(), 1 << 20)) > 0) {
        }
        if (count < 0)
            throw std::runtime_error("cannot read " + path.string());
    }
    return (clock_ns() - start_ns) / 1e6;
}

// Add the resident pages and all pages of a file. False if the system would not tell the truth, which it
// does only to a user who owns the file or may write it.
static bool count_pages(const fs::path& path, double& resident, double& pages)
{
    const Opened file(path);
    struct stat status;
    if (file.descriptor < 0 || fstat(file.descriptor, &status) != 0)
        return false;
    if (status.st_size == 0)
        return true;
    if (status.st_uid != geteuid() && access(path.c_str(), W_OK) != 0)
        return false;
    void* const mapping = mmap(nullptr, status.st_size, PROT_READ, MAP_SHARED, file.descriptor, 0);
    if (mapping == MAP_FAILED)
        return false;
    const long page = sysconf(_SC_PAGESIZE);
    std::vector<unsigned char> states((status.st_size + page - 1) / page);
    const bool counted = mincore(mapping, status.st_size, states.data()) == 0;
    munmap(mapping, status.st_size);
    pages += states.size();
    resident += std::count_if(states.begin(), states.end(), [](unsigned char state) { return state & 1; });
    return counted;
}

std::optional<double> resident_share(const std::string& folder)
{
    double resident = 0, pages = 0;
    for (const fs::path& path : files_in(folder))
        if (!count_pages(path, resident, pages))
            return std::nullopt;
    return pages > 0 ? std::optional<double>(resident / pages) : std::nullopt;
}

static std::optional<double> status_mb(const std::string& field)
{
    std::ifstream file("/proc/self/status");
    std::string line;
    while (std::getline(file, line)) {
        double kb;
        if (line.rfind(field + ":", 0) == 0 && sscanf(line.c_str() + field.size() + 1, "%lf", &kb) == 1)
            return kb / 1024;
    }
    return std::nullopt;
}

std::optional<double> rss_mb()
{
    return status_mb("VmRSS");
}

std::optional<double> peak_rss_mb()
{
    return status_mb("VmHWM");
}

bool reset_peak()
{
    std::ofstream file("/proc/self/clear_refs");
    file << "5" << std::flush;
    const auto peak = peak_rss_mb(), now = rss_mb();
    // A kernel may accept the write and do nothing, so its numbers decide.
    return file && peak && now && *peak <= *now + RSS_LAG_MB;
}

std::optional<double> load_average()
{
    double load;
    return std::ifstream("/proc/loadavg") >> load ? std::optional<double>(load) : std::nullopt;
}

Snapshot Snapshot::take()
{
    Snapshot snapshot{};
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    snapshot.voluntary_switches = usage.ru_nvcsw;
    snapshot.involuntary_switches = usage.ru_nivcsw;
    std::string line;
    std::ifstream machine("/proc/stat");
    // user, nice, system, idle, iowait, irq, softirq, steal
    double ticks[8];
    machine >> line;
    for (double& count : ticks)
        machine >> count;
    if (machine && line == "cpu") {
        snapshot.busy_ticks = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
        snapshot.stolen_ticks = ticks[7];
    }
    std::ifstream pressure("/proc/pressure/cpu");
    const std::string total = "total=";
    if (std::getline(pressure, line) && line.rfind("some ", 0) == 0 && line.find(total) != std::string::npos)
        snapshot.pressure_us = std::stod(line.substr(line.find(total) + total.size()));
    snapshot.process_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    snapshot.wall_ns = clock_ns();
    return snapshot;
}

Event resources_between(const Snapshot& before, const Snapshot& after)
{
    const double wall_s = (after.wall_ns - before.wall_ns) / 1e9;
    const double process_share = (after.process_ns - before.process_ns) / 1e9 / wall_s;
    const double ticks = sysconf(_SC_CLK_TCK) * wall_s;
    Event event("resources");
    event.put("cpu_utilisation", process_share);
    if (before.busy_ticks && after.busy_ticks) {
        const double busy = (*after.busy_ticks - *before.busy_ticks) / ticks;
        event.put("other_cpu_utilisation", std::max(0.0, busy - process_share));
        event.put("steal", std::max(0.0, (*after.stolen_ticks - *before.stolen_ticks) / ticks));
    }
    if (before.pressure_us && after.pressure_us)
        event.put("cpu_pressure", (*after.pressure_us - *before.pressure_us) / 1e6 / wall_s);
    event.put("voluntary_switches", double(after.voluntary_switches - before.voluntary_switches));
    event.put("involuntary_switches", double(after.involuntary_switches - before.involuntary_switches));
    return event;
}
