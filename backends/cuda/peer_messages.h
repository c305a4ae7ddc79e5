// What the two processes of peer_memory.h say to each other. Needs neither CUDA nor a GPU.
//
// The user asks and the holder answers, each request once and in order. A message is a header and
// so many items of the kind's own type:
//
//   kind        items of the request           items of the answer
//   hold        Memory: the bytes wanted       Memory: the handle, or CUDA's error
//   show        Memory: the user's             Memory: CUDA's error, if it could not be mapped
//   hand_over   TableEntry                     none
//   take_back   MemoryRange                    none
//   checksum    MemoryRange                    std::uint64_t, one for each range
//   unmap       none                           none
//   refused                                    characters: what is wrong with what the user said
//
// Both number the memories that were held or shown without an error, from 0 in the order of the
// answers. `unmap` ends those that were shown. After `refused` the holder closes the connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <sys/un.h>
#include <type_traits>
#include <utility>
#include <vector>

#include "backends/owned_fd.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul::cuda {

/// First of every message; another value is another version, or another program.
inline constexpr std::uint64_t peer_protocol = 0x6b76'6861'756c'0002;  // "kvhaul", 2

enum class PeerMessageKind : std::uint32_t {
  hold,
  show,
  hand_over,
  take_back,
  checksum,
  unmap,
  refused
};
enum class PeerSide { user, holder };

struct PeerHeader {
  std::uint64_t protocol = peer_protocol;
  PeerMessageKind kind = PeerMessageKind::hold;
  std::uint32_t count = 0;  // items that follow
};
/// An allocation as a whole: CUDA IPC knows no parts of one.
struct Memory {
  std::uint64_t bytes = 0;
  std::uint64_t code = 0;              // cudaError_t
  std::array<std::byte, 64> handle{};  // cudaIpcMemHandle_t
};
struct MemoryRange {
  std::uint64_t memory = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
/// So many bytes of the target are read from the source.
struct TableEntry {
  std::uint64_t target = 0, target_offset = 0;
  std::uint64_t source = 0, source_offset = 0;
  std::uint64_t length = 0;
};

/// The address of a socket at a path. Fails with `bad_input` for what cannot be one.
Result<sockaddr_un> socket_address(const std::string& path);

/// Whether a process of the same user is at the other end: the memory of a GPU is for nobody else.
/// For who connects, whether one of them listens there.
bool is_of_this_user(int unix_socket);
/// The next connection of a process of this user; others are closed unheard. Empty (errno): no more
/// come.
OwnedFd accept_from_this_user(int listening);

/// Items of one message; what is more goes in several.
inline constexpr std::uint32_t peer_items_max = 4096;

/// How long the message is that `received` begins with; nothing while that cannot be said yet.
/// Fails for what `from` cannot have meant. No more than 160 KiB.
Result<std::optional<std::size_t>> peer_message_bytes(std::span<const std::byte> received,
                                                      PeerSide from);

/// Whether it lies in one of the memories, which have so many bytes each; 0: none any more.
bool is_inside(const MemoryRange& range, std::span<const Bytes> memories);

struct PeerMessage {
  PeerMessageKind kind = PeerMessageKind::hold;
  std::uint32_t count = 0;
  std::span<const std::byte> body;

  /// Number `i` of `count`, of the type that belongs to the kind.
  template <class Item>
  Item item(std::size_t i) const {
    static_assert(std::is_trivially_copyable_v<Item>);
    Item item;
    std::memcpy(&item, body.data() + i * sizeof item, sizeof item);
    return item;
  }
};

/// One end of the socket. Only wait() blocks.
class PeerConnection {
 public:
  PeerConnection(OwnedFd socket, PeerSide other) : socket_(std::move(socket)), other_(other) {}

  /// What the socket does not take now goes in later calls of this class.
  template <class Item>
  void send(PeerMessageKind kind, std::span<const Item> items) {
    static_assert(std::is_trivially_copyable_v<Item>);
    send(kind, static_cast<std::uint32_t>(items.size()), std::as_bytes(items));
  }
  void send(PeerMessageKind kind) { send(kind, 0, {}); }

  /// The next whole message, valid until the next call; nothing while there is none. Fails for what
  /// is no message, and at an end inside of one.
  Result<std::optional<PeerMessage>> receive();
  /// Nothing more comes: the other has closed its end, or the system for it.
  bool ended() const { return ended_; }
  /// Until the socket has something to say or takes what waits to be sent; at most so many
  /// milliseconds, -1: no limit.
  void wait(int milliseconds);

 private:
  void send(PeerMessageKind kind, std::uint32_t count, std::span<const std::byte> body);
  void flush();

  OwnedFd socket_;
  PeerSide other_;
  std::vector<std::byte> in_, out_;
  std::size_t taken_ = 0;  // of in_, by the latest message
  bool ended_ = false;
};

}  // namespace kvhaul::cuda
