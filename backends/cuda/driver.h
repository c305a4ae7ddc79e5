// What only CUDA's driver library can do, and the runtime has no name for. Loaded when it is first
// needed: a program that was linked against it would not start where there is no driver.
#pragma once

#include <cuda.h>
#include <string>

#include "core/result.h"

namespace kvhaul::cuda {

struct Driver {
  decltype(&cuGetErrorName) error_name = nullptr;
  decltype(&cuDeviceGetAttribute) attribute = nullptr;
  decltype(&cuPointerSetAttribute) set_attribute = nullptr;
  decltype(&cuMemGetHandleForAddressRange) handle_for_range = nullptr;
};

/// Fails with `missing`: no driver here, or one before 11.7.
Result<Driver> load_driver();

/// "cuPointerSetAttribute: CUDA_ERROR_INVALID_VALUE"
std::string driver_error(const Driver& driver, const char* call, CUresult code);

}  // namespace kvhaul::cuda
