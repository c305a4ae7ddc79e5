// The side of peer_memory.h that holds the memory.
#include <cerrno>
#include <cstring>
#include <cuda_runtime_api.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/cuda/device.h"
#include "backends/cuda/handed_over.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/payload.h"
#include "backends/cuda/peer_memory.h"
#include "backends/cuda/status.h"

namespace kvhaul::cuda {
namespace {

struct CloseMapped {
  void operator()(std::byte* memory) const { cudaIpcCloseMemHandle(memory); }
};

/// One connection: what is held for it, what it has shown, and the block tables.
class Holder {
 public:
  Holder(OwnedFd socket, Payload checksums)
      : connection_(std::move(socket), PeerSide::user), checksums_(std::move(checksums)) {}

  /// Until the other process has gone.
  Result<void> serve() {
    while (true) {
      const auto message = connection_.receive();
      if (!message) return refuse(message.error());
      if (!*message) {
        if (connection_.ended()) return {};
        connection_.wait(-1);
        continue;
      }
      if (auto ok = answer(**message); !ok) return refuse(ok.error());
    }
  }

 private:
  struct Held {
    std::byte* base = nullptr;
    DeviceMemory own;  // one of these two
    std::unique_ptr<std::byte, CloseMapped> mapped;
    HandedOver handed_over;  // of its own
  };

  Result<void> answer(const PeerMessage& request) {
    switch (request.kind) {
      case PeerMessageKind::hold:
        return hold(request.item<Memory>(0));
      case PeerMessageKind::show:
        return map(request.item<Memory>(0));
      case PeerMessageKind::hand_over:
        return hand_over(request);
      case PeerMessageKind::take_back:
        return take_back(request);
      case PeerMessageKind::checksum:
        return checksum(request);
      case PeerMessageKind::unmap:
        unmap();
        connection_.send(request.kind);
        return {};
      case PeerMessageKind::refused:
        break;
    }
    return Error::failed("sent what only a holder says");
  }

  /// The other side is told, too.
  Error refuse(const Error& why) {
    const std::span text(why.message.data(),
                         std::min<std::size_t>(why.message.size(), peer_items_max));
    connection_.send(PeerMessageKind::refused, text);
    if (why.kind != ErrorKind::failed) return why;  // our GPU
    return Error::failed("the process that uses the memory " + why.message);
  }

  Result<void> hold(Memory memory) {
    Held held;
    cudaError_t code = make_device_memory(held.own, memory.bytes);
    cudaIpcMemHandle_t handle{};
    if (code == cudaSuccess) code = cudaIpcGetMemHandle(&handle, held.own.get());
    held.base = held.own.get();
    std::memcpy(memory.handle.data(), &handle, sizeof handle);
    return add(PeerMessageKind::hold, code, std::move(held), memory);
  }

  Result<void> map(const Memory& memory) {
    cudaIpcMemHandle_t handle;
    std::memcpy(&handle, memory.handle.data(), sizeof handle);
    void* mapped = nullptr;
    const cudaError_t code = cudaIpcOpenMemHandle(&mapped, handle, cudaIpcMemLazyEnablePeerAccess);
    Held held;
    held.base = static_cast<std::byte*>(mapped);
    held.mapped.reset(held.base);
    return add(PeerMessageKind::show, code, std::move(held), memory);
  }

  Result<void> add(PeerMessageKind kind, cudaError_t code, Held held, Memory memory) {
    memory.code = static_cast<std::uint64_t>(code);
    if (code == cudaSuccess) {
      held_.push_back(std::move(held));
      bytes_.push_back(memory.bytes);
    } else {
      cudaGetLastError();
    }
    connection_.send(kind, std::span<const Memory>(&memory, 1));
    return {};
  }

  Result<void> hand_over(const PeerMessage& request) {
    for (std::size_t i = 0; i < request.count; ++i) {
      const auto entry = request.item<TableEntry>(i);
      auto* const target = own({entry.target, entry.target_offset, entry.length});
      if (target == nullptr || entry.length == 0 ||
          !is_inside({entry.source, entry.source_offset, entry.length}, bytes_))
        return outside();
      target->handed_over.add(entry.target_offset, entry.length,
                              held_[entry.source].base + entry.source_offset);
    }
    connection_.send(request.kind);
    return {};
  }

  Result<void> take_back(const PeerMessage& request) {
    for (std::size_t i = 0; i < request.count; ++i) {
      const auto range = request.item<MemoryRange>(i);
      auto* const held = own(range);
      if (held == nullptr) return outside();
      held->handed_over.remove(range.offset, range.length);
    }
    connection_.send(request.kind);
    return {};
  }

  Result<void> checksum(const PeerMessage& request) {
    ranges_.clear();
    for (std::size_t i = 0; i < request.count; ++i) {
      const auto range = request.item<MemoryRange>(i);
      auto* const held = own(range);
      if (held == nullptr) return outside();
      const std::byte* at = held->handed_over.find(range.offset, range.length);
      ranges_.push_back({at != nullptr ? at : held->base + range.offset, range.length});
    }
    sums_.resize(request.count);
    const auto begun = checksums_.begin_checksums(ranges_, sums_);
    if (!begun) return begun.error();
    while (true) {
      const auto done = checksums_.done();
      if (!done) return done.error();
      if (*done >= *begun) break;
    }
    connection_.send(request.kind, std::span<const std::uint64_t>(sums_));
    return {};
  }

  /// The other process is about to free what it has shown.
  void unmap() {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      held_[i].handed_over = {};
      if (held_[i].mapped) bytes_[i] = 0;
      held_[i].mapped.reset();
    }
  }

  /// The memory that a range lies in, where it is held and not shown.
  Held* own(const MemoryRange& range) {
    if (!is_inside(range, bytes_) || !held_[range.memory].own) return nullptr;
    return &held_[range.memory];
  }
  static Error outside() {
    return Error::failed("named a range that lies in no memory it may name");
  }

  PeerConnection connection_;
  Payload checksums_;
  std::vector<Held> held_;    // by number
  std::vector<Bytes> bytes_;  // the same; 0: not any more
  std::vector<ChecksumRange> ranges_;
  std::vector<std::uint64_t> sums_;
};

}  // namespace

Result<void> hold_memory(const std::string& socket_path, int device,
                         const std::function<void()>& on_listening) {
  const auto address = socket_address(socket_path);
  if (!address) return address.error();
  const auto failed = [&](const char* what) {
    return Error::missing(socket_path + ": " + what + ": " + std::strerror(errno));
  };
  const auto devices = find_devices();
  if (!devices) return devices.error();
  if (device < 0 || static_cast<std::size_t>(device) >= devices->size())
    return Error::missing("no CUDA device " + std::to_string(device) + ": this machine has " +
                          std::to_string(devices->size()));
  FirstError ready(device);
  ready.then("cudaSetDevice", [&] { return cudaSetDevice(device); })
      .then("cudaFuncGetAttributes", [] { return load_kernels(); });
  if (!ready.ok()) return ready.result();
  auto checksums = Payload::open((*devices)[static_cast<std::size_t>(device)]);
  if (!checksums) return checksums.error();

  OwnedFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (listening.get() < 0) return failed("socket");
  const mode_t mask = umask(0177);  // nobody but this user
  const int bound =
      bind(listening.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  umask(mask);
  if (bound != 0) return failed("bind");
  if (listen(listening.get(), 1) != 0) return failed("listen");
  on_listening();
  OwnedFd peer = accept_from_this_user(listening.get());
  unlink(socket_path.c_str());  // one peer only
  if (peer.get() < 0) return failed("accept");
  return Holder(std::move(peer), std::move(*checksums)).serve();
}

}  // namespace kvhaul::cuda
