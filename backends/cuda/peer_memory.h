// GPU memory that another process holds: that one allocates it and shows it by CUDA IPC, this one
// maps it and copies into it or reads it in place. One connection over a Unix socket carries
// requests and handles; its end is how each side learns that the other has gone.
//
// Both processes run on one machine and under one user: CUDA IPC and the socket's file permissions
// ask for it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/owned_fd.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul::cuda {

/// The side that uses the memory.
class PeerMemory {
 public:
  /// Waits up to `patience_ns` for the holder to listen. Fails with `missing`.
  static Result<PeerMemory> connect(const std::string& socket_path, TimeNs patience_ns);

  /// Has the holder allocate that many bytes and maps them on `device`. Blocks.
  Result<std::byte*> map(Bytes bytes, int device);
  /// False from when the holder has closed its end, as the system does for a process that dies.
  bool alive();

 private:
  struct Unmap {
    void operator()(std::byte* memory) const;
  };
  explicit PeerMemory(OwnedFd socket, std::string path)
      : socket_(std::move(socket)), path_(std::move(path)) {}

  OwnedFd socket_;
  std::string path_;
  std::vector<std::unique_ptr<std::byte, Unmap>> mapped_;
  bool alive_ = true;
};

/// The side that holds it: listens on the path, gives the first process that connects what it asks
/// for, and returns when that one has gone. `on_listening` is told that a connection is possible
/// now.
Result<void> hold_memory(const std::string& socket_path, int device,
                         const std::function<void()>& on_listening);

}  // namespace kvhaul::cuda
