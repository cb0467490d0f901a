// A launch of the request's mode, like that of device.py in workflow/cellfarm/measures.
#pragma once

#include "events.hpp"

void run(const Request& request);
