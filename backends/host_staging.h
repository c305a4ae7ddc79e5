// Staging for places in host memory: the processor copies, at once.
#pragma once

#include <cstring>

#include "backends/device_memory.h"
#include "backends/modelled/buffer.h"

namespace kvhaul {

class HostStaging final : public StagingBuffer {
 public:
  static Result<std::unique_ptr<StagingBuffer>> make(StagingWay way, Bytes bytes) {
    modelled::Buffer memory = modelled::make_buffer(bytes);
    if (!memory)
      return Error::missing("no " + std::to_string(bytes) + " bytes of host memory to stage in");
    std::memset(memory.get(), 0, bytes);  // every page is there
    return std::unique_ptr<StagingBuffer>(new HostStaging(way, bytes, std::move(memory)));
  }

  std::span<std::byte> memory() override { return {memory_.get(), bytes_}; }
  Result<void> begin(std::span<const DevicePiece> pieces, Bytes offset) override {
    for (const DevicePiece& piece : pieces) {
      std::byte* const staged = memory_.get() + offset;
      offset += piece.bytes;
      if (way_ == StagingWay::from_device)
        std::memcpy(staged, piece.address, piece.bytes);
      else
        std::memcpy(piece.address, staged, piece.bytes);
    }
    ++done_;
    return {};
  }
  Result<std::uint64_t> done() override { return done_; }

 private:
  HostStaging(StagingWay way, Bytes bytes, modelled::Buffer memory)
      : way_(way), bytes_(bytes), memory_(std::move(memory)) {}

  StagingWay way_;
  Bytes bytes_;
  modelled::Buffer memory_;
  std::uint64_t done_ = 0;
};

}  // namespace kvhaul
