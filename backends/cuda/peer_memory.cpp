#include "backends/cuda/peer_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <cuda_runtime_api.h>
#include <sys/socket.h>
#include <thread>

#include "backends/cuda/status.h"

namespace kvhaul::cuda {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds answers_within{10};

static_assert(sizeof(cudaIpcMemHandle_t) == sizeof Memory::handle);

}  // namespace

void PeerMemory::Unmap::operator()(std::byte* memory) const { cudaIpcCloseMemHandle(memory); }

Result<PeerMemory> PeerMemory::connect(const std::string& socket_path, TimeNs patience_ns) {
  const auto address = socket_address(socket_path);
  if (!address) return address.error();
  const auto failed = [&](const char* what) {
    return Error::missing(socket_path + ": " + what + ": " + std::strerror(errno));
  };
  constexpr TimeNs pause_ns = 20 * ms_ns;
  for (TimeNs waited = 0;; waited += pause_ns) {
    OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) return failed("socket");
    // One that listens and has stopped would hold a connect() for good.
    const timeval patience{std::max<TimeNs>(patience_ns, s_ns) / s_ns, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0) {
      if (!is_of_this_user(fd.get()))
        return Error::bad_input(socket_path +
                                ": another user listens there; expected 'kvhaul hold' of the user "
                                "that runs the replay");
      return PeerMemory(std::move(fd), socket_path);
    }
    if (waited >= patience_ns) return failed("nobody listens");
    std::this_thread::sleep_for(std::chrono::nanoseconds(pause_ns));
  }
}

Result<std::byte*> PeerMemory::map(Bytes bytes, int device) {
  const auto held = ask_for_memory(PeerMessageKind::hold, {bytes, 0, {}});
  if (!held) return held.error();
  if (held->code != cudaSuccess)
    return Error::missing(path_ + ": the process that holds the memory has not got " +
                          std::to_string(bytes) +
                          " bytes: " + cudaGetErrorString(static_cast<cudaError_t>(held->code)));
  Numbered& numbered = memories_.emplace_back();
  cudaIpcMemHandle_t handle;
  std::memcpy(&handle, held->handle.data(), sizeof handle);
  void* memory = nullptr;
  FirstError error(device);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device); })
      .then("cudaIpcOpenMemHandle",
            [&] { return cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess); });
  if (!error.ok()) {
    cudaGetLastError();
    return error.result().error();
  }
  numbered = {static_cast<std::byte*>(memory), bytes};
  mapped_.emplace_back(numbered.base);
  return numbered.base;
}

Result<void> PeerMemory::show(std::byte* memory, Bytes bytes, int device) {
  cudaIpcMemHandle_t handle;
  FirstError error(device);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device); })
      .then("cudaIpcGetMemHandle", [&] { return cudaIpcGetMemHandle(&handle, memory); });
  if (!error.ok()) {
    cudaGetLastError();
    return error.result();
  }
  Memory shown{bytes, 0, {}};
  std::memcpy(shown.handle.data(), &handle, sizeof handle);
  const auto answer = ask_for_memory(PeerMessageKind::show, shown);
  if (!answer) return answer.error();
  if (answer->code != cudaSuccess)
    return Error::missing(path_ + ": the process that holds the memory cannot map this one's: " +
                          cudaGetErrorString(static_cast<cudaError_t>(answer->code)));
  memories_.push_back({memory, bytes});
  return {};
}

Result<std::uint64_t> PeerMemory::hand_over(std::span<const PieceCopy> pieces) {
  entries_.clear();
  for (PieceCopy piece : pieces)
    while (piece.bytes != 0) {
      // Pieces that follow each other in the address space may lie in two memories.
      const auto target = range_at(piece.to, piece.bytes);
      const auto source = target ? range_at(piece.from, target->length) : std::nullopt;
      if (!source)
        return Error::missing(
            "the process that holds the memory was not shown where the bytes lie");
      entries_.push_back(
          {target->memory, target->offset, source->memory, source->offset, source->length});
      piece.to += source->length;
      piece.from += source->length;
      piece.bytes -= source->length;
    }
  return ask<TableEntry>(PeerMessageKind::hand_over, entries_);
}

void PeerMemory::take_back(const std::byte* memory, Bytes offset, Bytes length) {
  const MemoryRange range{number_of(memory), offset, length};
  ask<MemoryRange>(PeerMessageKind::take_back, {&range, 1});
}

std::uint64_t PeerMemory::begin_checksums(const std::byte* memory,
                                          std::span<const SegmentRange> ranges,
                                          std::span<std::uint64_t> sums) {
  if (ranges.empty()) return sent_;
  ranges_.clear();
  for (const SegmentRange& range : ranges)
    ranges_.push_back({number_of(memory), range.offset, range.length});
  return ask<MemoryRange>(PeerMessageKind::checksum, ranges_, sums);
}

Result<bool> PeerMemory::answered(std::uint64_t request) {
  look();
  if (request <= sent_ - open_requests_.size()) return true;
  if (!end_.empty()) return gone();
  return false;
}

bool PeerMemory::alive() {
  look();
  return end_.empty();
}

void PeerMemory::finish() {
  // Nobody waits for these any more.
  for (Request& request : open_requests_) request.sums = {};
  if (!alive()) return;
  const std::uint64_t last = ask<MemoryRange>(PeerMessageKind::unmap, {});
  while (true) {
    const auto done = answered(last);
    if (!done || *done) return;
    connection_.wait(100);
  }
}

/// In as many messages as the items need; the number is that of the last.
template <class Item>
std::uint64_t PeerMemory::ask(PeerMessageKind kind, std::span<const Item> items,
                              std::span<std::uint64_t> sums) {
  if (!end_.empty()) return sent_ + 1;  // a number that is never answered
  do {
    const std::span<const Item> some =
        items.first(std::min<std::size_t>(items.size(), peer_items_max));
    Request request{kind, 0, {}};
    if (kind == PeerMessageKind::hold || kind == PeerMessageKind::show) request.items = 1;
    if (kind == PeerMessageKind::checksum) {
      request.items = static_cast<std::uint32_t>(some.size());
      request.sums = sums.first(some.size());
      sums = sums.subspan(some.size());
    }
    if (open_requests_.empty()) silent_since_ = Clock::now();
    open_requests_.push_back(request);
    ++sent_;
    connection_.send(kind, some);
    items = items.subspan(some.size());
  } while (!items.empty());
  return sent_;
}

Result<Memory> PeerMemory::ask_for_memory(PeerMessageKind kind, const Memory& memory) {
  const std::uint64_t request = ask<Memory>(kind, {&memory, 1});
  while (true) {
    const auto done = answered(request);
    if (!done) return done.error();
    if (*done) return answered_memory_;
    connection_.wait(100);
  }
}

void PeerMemory::look() {
  while (end_.empty()) {
    const auto message = connection_.receive();
    if (!message) {
      end_ = message.error().message;
    } else if (*message) {
      take(**message);
    } else {
      if (connection_.ended())
        end_ = "is gone";
      else if (!open_requests_.empty() && Clock::now() - silent_since_ > answers_within)
        end_ = "has given no answer for 10 s";
      break;
    }
  }
}

void PeerMemory::take(const PeerMessage& answer) {
  if (answer.kind == PeerMessageKind::refused) {
    end_ = "refuses to go on: " +
           std::string(reinterpret_cast<const char*>(answer.body.data()), answer.body.size());
    return;
  }
  if (open_requests_.empty() || open_requests_.front().kind != answer.kind ||
      open_requests_.front().items != answer.count) {
    end_ = "sent an answer that nobody asked for";
    return;
  }
  const Request& request = open_requests_.front();
  if (answer.kind == PeerMessageKind::hold || answer.kind == PeerMessageKind::show)
    answered_memory_ = answer.item<Memory>(0);
  for (std::size_t i = 0; i < request.sums.size(); ++i)
    request.sums[i] = answer.item<std::uint64_t>(i);
  open_requests_.pop_front();
  silent_since_ = Clock::now();
}

Error PeerMemory::gone() const {
  return Error::missing(path_ + ": the process that holds the memory " + end_);
}

std::uint64_t PeerMemory::number_of(const std::byte* memory) const {
  const auto found = std::find_if(memories_.begin(), memories_.end(),
                                  [&](const Numbered& one) { return one.base == memory; });
  check(found != memories_.end(), "memory that the other process does not hold");
  return static_cast<std::uint64_t>(found - memories_.begin());
}

std::optional<MemoryRange> PeerMemory::range_at(const std::byte* at, Bytes bytes) const {
  for (std::size_t i = 0; i < memories_.size(); ++i) {
    const auto& [base, size] = memories_[i];
    if (base == nullptr || at < base || at >= base + size) continue;
    const auto offset = static_cast<Bytes>(at - base);
    return MemoryRange{i, offset, std::min(bytes, size - offset)};
  }
  return std::nullopt;
}

}  // namespace kvhaul::cuda
