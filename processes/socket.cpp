#include "processes/socket.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/unit_text.h"

namespace kvhaul {

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

Deadline::Deadline(TimeNs within_ns)
    : at_(SteadyClock::now() + std::chrono::nanoseconds(std::clamp<TimeNs>(
                                   within_ns, 0, TimeNs{10} * 365 * 86'400 * s_ns))) {}

int Deadline::left_ms() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - SteadyClock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
}

bool wait_for(int fd, short events, const Deadline& deadline) {
  while (true) {
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

Result<Addresses> look_up(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int status = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (status != 0)
    return Error::bad_input("--rendezvous: " + in_quotes(host) +
                            " cannot be found: " + gai_strerror(status));
  return Addresses(list);
}

HostPort split_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return {host, text.substr(colon + 1)};
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

std::string machine_id() {
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string id;
  struct stat network {};
  if (!(boot >> id) || stat("/proc/self/ns/net", &network) != 0) return "host-" + host_name();
  return id + "-" + std::to_string(network.st_ino);
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) == 0) {
    for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
      if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0 ||
          (at->ifa_flags & IFF_LOOPBACK) != 0 || found.size() == 32)
        continue;
      const int family = at->ifa_addr->sa_family;
      if (family != AF_INET && family != AF_INET6) continue;
      char text[NI_MAXHOST] = {};
      const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      if (getnameinfo(at->ifa_addr, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0 &&
          std::strchr(text, '%') == nullptr &&  // of one link only
          std::find(found.begin(), found.end(), text) == found.end())
        found.emplace_back(text);
    }
    freeifaddrs(list);
  }
  found.emplace_back("127.0.0.1");
  return found;
}

bool is_loopback(const std::string& address) {
  in_addr four{};
  in6_addr six{};
  if (inet_pton(AF_INET6, address.c_str(), &six) == 1) {
    // The unspecified address leads to the own machine, too.
    if (IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six)) return true;
    if (!IN6_IS_ADDR_V4MAPPED(&six) && !IN6_IS_ADDR_V4COMPAT(&six)) return false;
    std::memcpy(&four, six.s6_addr + 12, sizeof four);
  } else if (inet_pton(AF_INET, address.c_str(), &four) != 1) {
    return false;
  }
  const std::uint32_t number = ntohl(four.s_addr);
  return number >> 24 == 127 || number >> 24 == 0;
}

Result<Listener> listen_at(const addrinfo& at, const std::string& name) {
  Socket socket(::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (socket) {
    setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at.ai_family == AF_INET6)
      setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (!socket || bind(socket.fd(), at.ai_addr, at.ai_addrlen) != 0 ||
      listen(socket.fd(), SOMAXCONN) != 0 ||
      getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&own), &size) != 0)
    return Error::bad_input("--rendezvous: process 0 cannot listen at " + name + ": " +
                            std::strerror(errno));
  const std::uint16_t port =
      ntohs(at.ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&own)->sin6_port
                                     : reinterpret_cast<sockaddr_in*>(&own)->sin_port);
  return Listener{std::move(socket), port};
}

/// Notices when the other machine is gone without a word, whether something is under way to it or
/// not.
void prepare(int fd) {
  const int on = 1, idle_s = 10, interval_s = 5, probes = 3;
  const unsigned unacknowledged_ms = 1000 * (idle_s + probes * interval_s);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

Socket connect_to(const addrinfo& at, const Deadline& deadline) {
  Socket socket(::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return {};
  if (connect(socket.fd(), at.ai_addr, at.ai_addrlen) != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    if (errno != EINPROGRESS || !wait_for(socket.fd(), POLLOUT, deadline) ||
        getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
      return {};
  }
  prepare(socket.fd());
  return socket;
}

Result<void> reserve_descriptors(std::size_t count) {
  constexpr std::size_t others = 64;  // files and devices of the program itself
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count + others) return {};
  limit.rlim_cur = std::min<rlim_t>(count + others, limit.rlim_max);
  if (limit.rlim_cur < count + others || setrlimit(RLIMIT_NOFILE, &limit) != 0)
    return Error::bad_input("so many processes need " + std::to_string(count + others) +
                            " open files in process 0, and it may have " +
                            std::to_string(limit.rlim_max) + "; expected a larger 'ulimit -n'");
  return {};
}

}  // namespace kvhaul
