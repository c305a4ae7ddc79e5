// Many copies in one call, where the driver has it (cudaMemcpyBatchAsync, CUDA 12.8).
#pragma once

#include <cuda_runtime_api.h>
#include <span>
#include <vector>

#include "backends/cuda/kernels.h"

namespace kvhaul::cuda {

class BatchCopy {
 public:
  /// Without driver support every piece is a call of its own, with the same result.
  BatchCopy(bool supported, std::uint32_t pieces_max) : supported_(supported) {
    to_.reserve(pieces_max);
    from_.reserve(pieces_max);
    bytes_.reserve(pieces_max);
  }

  void clear() {
    to_.clear();
    from_.clear();
    bytes_.clear();
  }
  void add(const PieceCopy& piece) {
    to_.push_back(piece.to);
    from_.push_back(piece.from);
    bytes_.push_back(piece.bytes);
  }

  cudaError_t start(cudaStream_t stream) {
#if CUDART_VERSION >= 13000
    if (supported_ && to_.size() > 1) {
      cudaMemcpyAttributes attributes{};
      attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
      std::size_t first = 0;
      return cudaMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), to_.size(), &attributes,
                                  &first, 1, stream);
    }
#endif
    for (std::size_t i = 0; i < to_.size(); ++i) {
      const cudaError_t code =
          cudaMemcpyAsync(to_[i], from_[i], bytes_[i], cudaMemcpyDefault, stream);
      if (code != cudaSuccess) return code;
    }
    return cudaSuccess;
  }

 private:
  bool supported_;
  std::vector<void*> to_;
  std::vector<const void*> from_;
  std::vector<std::size_t> bytes_;
};

}  // namespace kvhaul::cuda
