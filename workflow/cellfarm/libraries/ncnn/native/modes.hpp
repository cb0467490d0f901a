// What a launch does, by the mode of its request, as workflow/cellfarm/runner/{measuring,quality,profiling}.py
// do it.
#pragma once

#include "events.hpp"

void run(const Request& request);
