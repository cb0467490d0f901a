// The native runner: a launch of a cell on ncnn, like that of the runner in Python, but without Python.

#include "events.hpp"
#include "modes.hpp"
#include "system.hpp"

#include <cstdlib>
#include <iostream>
#include <unistd.h>

int main()
{
    const int64_t start_ns = clock_ns();
    open_events();
    int code = 1;
    try {
        const char* const spawned = getenv("CELLFARM_SPAWNED_NS");
        const Request request(std::cin);
        if (spawned)
            Event("start")
                .put("ms", (start_ns - std::stoll(spawned)) / 1e6)
                .put("pid", double(getpid()))
                .send();
        run(request);
        Event("end").send();
        code = 0;
    } catch (const Unsupported& refusal) {
        Event("error").put("kind", "Unsupported").put("message", refusal.what()).send();
    } catch (const std::exception& error) {
        Event("error").put("kind", "RuntimeError").put("message", error.what()).send();
    }
    // Like the runner in Python: no destructor runs that could still fail.
    _exit(code);
}
