#include "backends/cuda/peer_memory.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <cuda_runtime_api.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "backends/cuda/handles.h"
#include "backends/cuda/status.h"

namespace kvhaul::cuda {
namespace {

/// First of every message; another value is another version, or another program.
constexpr std::uint64_t protocol = 0x6b76'6861'756c'0001;  // "kvhaul", 1

struct Request {
  std::uint64_t protocol_number = protocol;
  std::uint64_t bytes = 0;
};
struct Answer {
  std::uint64_t protocol_number = protocol;
  std::uint64_t code = 0;  // cudaError_t
  cudaIpcMemHandle_t handle{};
};

Error socket_error(const std::string& path, const std::string& what) {
  return Error::missing(path + ": " + what + ": " + std::strerror(errno));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error::bad_input("'" + path + "': expected the path of a socket, shorter than " +
                            std::to_string(sizeof address.sun_path) + " characters");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

template <class Message>
bool write_message(int fd, const Message& message) {
  return send(fd, &message, sizeof message, MSG_NOSIGNAL) == sizeof message;
}
/// False at the end of the connection and for what is no message of this protocol.
template <class Message>
bool read_message(int fd, Message& message) {
  return recv(fd, &message, sizeof message, MSG_WAITALL) == sizeof message &&
         message.protocol_number == protocol;
}

}  // namespace

void PeerMemory::Unmap::operator()(std::byte* memory) const { cudaIpcCloseMemHandle(memory); }

Result<PeerMemory> PeerMemory::connect(const std::string& socket_path, TimeNs patience_ns) {
  const auto address = address_of(socket_path);
  if (!address) return address.error();
  constexpr TimeNs pause_ns = 20 * ms_ns;
  for (TimeNs waited = 0;; waited += pause_ns) {
    OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) return socket_error(socket_path, "socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0)
      return PeerMemory(std::move(fd), socket_path);
    if (waited >= patience_ns) return socket_error(socket_path, "nobody listens");
    std::this_thread::sleep_for(std::chrono::nanoseconds(pause_ns));
  }
}

Result<std::byte*> PeerMemory::map(Bytes bytes, int device) {
  Answer answer;
  if (!write_message(socket_.get(), Request{.bytes = bytes}) ||
      !read_message(socket_.get(), answer)) {
    alive_ = false;
    return Error::missing(path_ + ": the process that holds the memory gave no answer");
  }
  if (answer.code != cudaSuccess)
    return Error::missing(path_ + ": the process that holds the memory has not got " +
                          std::to_string(bytes) +
                          " bytes: " + cudaGetErrorString(static_cast<cudaError_t>(answer.code)));
  void* memory = nullptr;
  FirstError error(device);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device); })
      .then("cudaIpcOpenMemHandle", [&] {
        return cudaIpcOpenMemHandle(&memory, answer.handle, cudaIpcMemLazyEnablePeerAccess);
      });
  if (!error.ok()) return error.result().error();
  mapped_.emplace_back(static_cast<std::byte*>(memory));
  return mapped_.back().get();
}

bool PeerMemory::alive() {
  if (!alive_) return false;
  pollfd waiting{socket_.get(), POLLIN, 0};
  // The holder never speaks first: anything to read is the end of the connection.
  if (poll(&waiting, 1, 0) > 0) alive_ = false;
  return alive_;
}

Result<void> hold_memory(const std::string& socket_path, int device,
                         const std::function<void()>& on_listening) {
  const auto address = address_of(socket_path);
  if (!address) return address.error();
  FirstError ready(device);
  ready.then("cudaSetDevice", [&] { return cudaSetDevice(device); });
  if (!ready.ok()) return ready.result();
  OwnedFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (listening.get() < 0) return socket_error(socket_path, "socket");
  const mode_t mask = umask(0177);  // nobody but this user
  const int bound =
      bind(listening.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  umask(mask);
  if (bound != 0) return socket_error(socket_path, "bind");
  if (listen(listening.get(), 1) != 0) return socket_error(socket_path, "listen");
  on_listening();
  const OwnedFd peer(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  unlink(socket_path.c_str());  // one peer only
  if (peer.get() < 0) return socket_error(socket_path, "accept");

  std::vector<DeviceMemory> held;
  Request request;
  while (read_message(peer.get(), request)) {
    Answer answer;
    DeviceMemory memory;
    cudaError_t code = make_device_memory(memory, request.bytes);
    if (code == cudaSuccess) code = cudaIpcGetMemHandle(&answer.handle, memory.get());
    if (code != cudaSuccess) cudaGetLastError();
    answer.code = static_cast<std::uint64_t>(code);
    held.push_back(std::move(memory));
    if (!write_message(peer.get(), answer)) break;
  }
  return {};
}

}  // namespace kvhaul::cuda
