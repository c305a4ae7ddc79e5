#include "backends/cuda/driver.h"

#include <dlfcn.h>

namespace kvhaul::cuda {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

Result<Driver> load_driver() {
  // Stays loaded, as the runtime has it open for as long as the program runs.
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Error::missing("no CUDA driver: " + std::string(dlerror()));
  Driver driver;
  if (find(library, "cuGetErrorName", driver.error_name) &&
      find(library, "cuDeviceGetAttribute", driver.attribute) &&
      find(library, "cuPointerSetAttribute", driver.set_attribute) &&
      find(library, "cuMemGetHandleForAddressRange", driver.handle_for_range))
    return driver;
  return Error::missing("the CUDA driver has no cuMemGetHandleForAddressRange (11.7 and later do)");
}

std::string driver_error(const Driver& driver, const char* call, CUresult code) {
  const char* name = nullptr;
  driver.error_name(code, &name);
  return std::string(call) + ": " + (name == nullptr ? "error " + std::to_string(code) : name);
}

}  // namespace kvhaul::cuda
