// The driver's own functions, found when they are first needed: the library loads where there is no
// driver.
#pragma once

namespace diffulex::cuda {

// Null where there is none. Makes no context, unlike asking the runtime.
void* driver_function(const char* name);

}  // namespace diffulex::cuda
