// An error of the CUDA runtime as a value: which call, on which device, what it said.
#pragma once

#include <cuda_runtime_api.h>
#include <string>

#include "core/result.h"

namespace kvhaul::cuda {

inline std::string error_text(cudaError_t code, const std::string& call, int device) {
  return call + " on device " + std::to_string(device) + ": " + cudaGetErrorName(code) + " (" +
         cudaGetErrorString(code) + ")";
}

/// The error is `missing`: what CUDA refuses, this machine cannot do.
inline Result<void> checked(cudaError_t code, const std::string& call, int device) {
  if (code == cudaSuccess) return {};
  return Error::missing(error_text(code, call, device));
}

/// The first error of several calls; the later ones are not made.
class FirstError {
 public:
  explicit FirstError(int device) : device_(device) {}

  /// Runs `call()` unless an earlier one failed. `name` is the function of the CUDA runtime.
  template <class Call>
  FirstError& then(const char* name, Call call) {
    if (code_ == cudaSuccess) {
      code_ = call();
      name_ = name;
    }
    return *this;
  }
  bool ok() const { return code_ == cudaSuccess; }
  std::string text() const { return error_text(code_, name_, device_); }
  Result<void> result() const { return checked(code_, name_, device_); }

 private:
  int device_;
  cudaError_t code_ = cudaSuccess;
  const char* name_ = "";
};

}  // namespace kvhaul::cuda
