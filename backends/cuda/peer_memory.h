// GPU memory that another process holds: that one allocates it and shows it by CUDA IPC, this one
// maps it and copies into it. What is handed over instead lies in this process's memory: the other
// one maps that, gets the block table, and reads in place. One connection over a Unix socket
// carries requests, handles and tables (peer_messages.h); its end is how each side learns that the
// other has gone.
//
// Both processes run on one machine and under one user: CUDA IPC and the socket's file permissions
// ask for it.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/kernels.h"
#include "backends/cuda/peer_messages.h"
#include "core/backend.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul::cuda {

/// The side that uses the memory. One thread. Nothing blocks but connect(), map(), show() and
/// finish(). A holder that says nothing for 10 s while something is asked of it counts as gone.
class PeerMemory {
 public:
  /// Waits up to `patience_ns` for the holder to listen. Fails with `missing`.
  static Result<PeerMemory> connect(const std::string& socket_path, TimeNs patience_ns);

  /// Has the holder allocate that many bytes and maps them on `device`.
  Result<std::byte*> map(Bytes bytes, int device);
  /// Has the holder map an allocation of this process, all of it, on `device`. It has to stay until
  /// finish().
  Result<void> show(std::byte* memory, Bytes bytes, int device);

  /// From now on the holder reads what is at `to`, in memory of map(), at `from`, in memory of
  /// map() or show(). Returns the number of the request, for answered().
  /// Fails where a piece comes from memory that the holder was not shown.
  Result<std::uint64_t> hand_over(std::span<const PieceCopy> pieces);
  /// From now on the holder reads this part of `memory`, which map() returned, where it is.
  void take_back(const std::byte* memory, Bytes offset, Bytes length);
  /// The holder sums up what it reads in `memory`, which map() returned. `sums` is filled, and must
  /// stay, until the request is answered or answered() fails. Returns its number.
  std::uint64_t begin_checksums(const std::byte* memory, std::span<const SegmentRange> ranges,
                                std::span<std::uint64_t> sums);
  /// Whether that request and all before it have been answered. Fails when they will never be.
  Result<bool> answered(std::uint64_t request);

  /// False from when the holder has closed its end, as the system does for a process that dies, or
  /// has said what it cannot have meant.
  bool alive();
  /// Why it is not, as a clause about the holder: "is gone".
  const std::string& end() const { return end_; }
  /// Returns when the holder has let go of what was shown to it, or is gone. Nothing after it.
  void finish();

 private:
  struct Unmap {
    void operator()(std::byte* memory) const;
  };
  /// As both sides number them.
  struct Numbered {
    std::byte* base = nullptr;
    Bytes bytes = 0;
  };
  struct Request {
    PeerMessageKind kind = PeerMessageKind::hold;
    std::uint32_t items = 0;  // of its answer
    std::span<std::uint64_t> sums;
  };
  PeerMemory(OwnedFd socket, std::string path)
      : connection_(std::move(socket), PeerSide::holder), path_(std::move(path)) {}

  template <class Item>
  std::uint64_t ask(PeerMessageKind kind, std::span<const Item> items,
                    std::span<std::uint64_t> sums = {});
  /// Blocks for the answer to the one request that is on its way, of one Memory.
  Result<Memory> ask_for_memory(PeerMessageKind kind, const Memory& memory);
  /// Takes the answers that have come.
  void look();
  void take(const PeerMessage& answer);
  Error gone() const;
  std::uint64_t number_of(const std::byte* memory) const;
  /// What begins there and lies in one memory, up to so many bytes; nothing if none holds it.
  std::optional<MemoryRange> range_at(const std::byte* at, Bytes bytes) const;

  PeerConnection connection_;
  std::string path_;
  std::vector<std::unique_ptr<std::byte, Unmap>> mapped_;  // before the connection ends
  std::vector<Numbered> memories_;
  std::deque<Request> open_requests_;  // sent, and not answered
  std::uint64_t sent_ = 0;             // requests so far
  std::chrono::steady_clock::time_point silent_since_;
  Memory answered_memory_;
  std::string end_;
  std::vector<TableEntry> entries_;  // scratch
  std::vector<MemoryRange> ranges_;  // scratch
};

/// The side that holds it: listens on the path, gives the first process that connects what it asks
/// for, and returns when that one has gone. `on_listening` is told that a connection is possible
/// now. Fails with `failed` when that process says what it cannot have meant, with `missing` when
/// the GPU is lost.
Result<void> hold_memory(const std::string& socket_path, int device,
                         const std::function<void()>& on_listening);

}  // namespace kvhaul::cuda
