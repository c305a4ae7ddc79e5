// Lists of pieces where kernels can read them: pinned memory, a list per chunk on its way.
#pragma once

#include <algorithm>
#include <span>

#include "backends/cuda/kernels.h"
#include "backends/cuda/pinned.h"

namespace kvhaul::cuda {

class PieceLists {
 public:
  Result<void> make(std::uint32_t lists, std::uint32_t pieces_each, int numa_node) {
    auto memory = make_pinned(Bytes{lists} * pieces_each * sizeof(PieceCopy), numa_node);
    if (!memory) return memory.error();
    memory_ = std::move(*memory);
    pieces_each_ = pieces_each;
    return {};
  }
  std::span<PieceCopy> list(std::uint32_t number) const {
    return {reinterpret_cast<PieceCopy*>(memory_.get()) + std::size_t{number} * pieces_each_,
            pieces_each_};
  }

 private:
  Pinned memory_;
  std::uint32_t pieces_each_ = 0;
};

}  // namespace kvhaul::cuda
