#include "backends/cuda/peer_messages.h"

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

namespace kvhaul::cuda {
namespace {

constexpr std::size_t kinds = 7;

/// What a message of a kind consists of.
struct Shape {
  std::size_t item_bytes = 0;
  std::uint32_t least = 0, most = 0;  // items
};

Shape shape_of(PeerMessageKind kind, PeerSide from) {
  const bool asks = from == PeerSide::user;
  switch (kind) {
    case PeerMessageKind::hold:
    case PeerMessageKind::show:
      return {sizeof(Memory), 1, 1};
    case PeerMessageKind::hand_over:
      return asks ? Shape{sizeof(TableEntry), 1, peer_items_max} : Shape{};
    case PeerMessageKind::take_back:
      return asks ? Shape{sizeof(MemoryRange), 1, peer_items_max} : Shape{};
    case PeerMessageKind::checksum:
      return {asks ? sizeof(MemoryRange) : sizeof(std::uint64_t), 1, peer_items_max};
    case PeerMessageKind::unmap:
      return {};
    case PeerMessageKind::refused:
      return {1, 0, peer_items_max};
  }
  return {};
}

}  // namespace

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error::bad_input("'" + path + "': expected the path of a socket, shorter than " +
                            std::to_string(sizeof address.sun_path) + " characters");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool is_of_this_user(int unix_socket) {
  ucred who{};
  socklen_t size = sizeof who;
  return getsockopt(unix_socket, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
         who.uid == geteuid();
}

OwnedFd accept_from_this_user(int listening) {
  while (true) {
    OwnedFd peer(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
    if (peer.get() >= 0 ? is_of_this_user(peer.get()) : errno != EINTR && errno != ECONNABORTED)
      return peer;
  }
}

Result<std::optional<std::size_t>> peer_message_bytes(std::span<const std::byte> received,
                                                      PeerSide from) {
  std::uint64_t protocol = 0;
  if (received.size() < sizeof protocol) return std::optional<std::size_t>();
  std::memcpy(&protocol, received.data(), sizeof protocol);
  // Before the rest is waited for: other versions may send less.
  if (protocol != peer_protocol)
    return Error::failed("sent what is no message of this version of kvhaul");
  PeerHeader header;
  if (received.size() < sizeof header) return std::optional<std::size_t>();
  std::memcpy(&header, received.data(), sizeof header);
  const auto kind = static_cast<std::uint32_t>(header.kind);
  if (kind >= kinds || (header.kind == PeerMessageKind::refused && from == PeerSide::user))
    return Error::failed("sent a message of unknown kind " + std::to_string(kind));
  const Shape shape = shape_of(header.kind, from);
  if (header.count < shape.least || header.count > shape.most)
    return Error::failed("sent a message of kind " + std::to_string(kind) + " with " +
                         std::to_string(header.count) + " items; expected " +
                         std::to_string(shape.least) + " to " + std::to_string(shape.most));
  return std::optional(sizeof header + header.count * shape.item_bytes);
}

bool is_inside(const MemoryRange& range, std::span<const Bytes> memories) {
  if (range.memory >= memories.size()) return false;
  const Bytes bytes = memories[range.memory];
  return range.length <= bytes && range.offset <= bytes - range.length;
}

void PeerConnection::send(PeerMessageKind kind, std::uint32_t count,
                          std::span<const std::byte> body) {
  const PeerHeader header{peer_protocol, kind, count};
  const auto bytes = std::as_bytes(std::span(&header, 1));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  out_.insert(out_.end(), body.begin(), body.end());
  flush();
}

void PeerConnection::flush() {
  std::size_t sent = 0;
  while (sent < out_.size()) {
    const ssize_t n =
        ::send(socket_.get(), out_.data() + sent, out_.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {  // nobody reads any more; receive() will find the end
      sent = out_.size();
    }
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent));
}

Result<std::optional<PeerMessage>> PeerConnection::receive() {
  flush();
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(taken_));
  taken_ = 0;
  while (true) {
    const auto bytes = peer_message_bytes(in_, other_);
    if (!bytes) return bytes.error();
    if (*bytes && in_.size() >= **bytes) {
      PeerHeader header;
      std::memcpy(&header, in_.data(), sizeof header);
      taken_ = **bytes;
      return std::optional(PeerMessage{header.kind, header.count,
                                       std::span(in_).first(taken_).subspan(sizeof header)});
    }
    if (ended_) {
      if (!in_.empty()) return Error::failed("is gone, in the middle of a message");
      return std::optional<PeerMessage>();
    }
    std::array<std::byte, 16 * KiB> more;
    const ssize_t n = recv(socket_.get(), more.data(), more.size(), MSG_DONTWAIT);
    if (n > 0)
      in_.insert(in_.end(), more.begin(), more.begin() + n);
    else if (n < 0 && errno == EAGAIN)
      return std::optional<PeerMessage>();
    else if (n == 0 || errno != EINTR)
      ended_ = true;
  }
}

void PeerConnection::wait(int milliseconds) {
  const short events = out_.empty() ? POLLIN : POLLIN | POLLOUT;
  pollfd waiting{socket_.get(), events, 0};
  poll(&waiting, 1, milliseconds);
  flush();
}

}  // namespace kvhaul::cuda
