#include "processes/tcp_exchange.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <ifaddrs.h>
#include <iterator>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <set>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "core/unit_text.h"
#include "processes/rendezvous.h"

namespace kvhaul {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t protocol = 1;
constexpr int look_again_ms = 50;  // for a file, or somebody who listens
constexpr TimeNs hello_within_ns = 5 * s_ns;
constexpr std::size_t strangers_max = 64;  // connections that have not said who they are
constexpr std::uint64_t frame_bytes_max = std::uint64_t{4} << 30;
constexpr std::string_view welcome = "ok\n";

/// A file descriptor that is closed once.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

class Deadline {
 public:
  explicit Deadline(TimeNs within_ns) : at_(Clock::now() + std::chrono::nanoseconds(within_ns)) {}
  bool passed() const { return Clock::now() >= at_; }
  int left_ms() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
  }

 private:
  Clock::time_point at_;
};

/// Waits for one of `events`; false when the time is over.
bool wait_for(int fd, short events, const Deadline& deadline) {
  while (true) {
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

/// All of it, or false: gone, or too late.
bool write_all(int fd, std::string_view bytes, const Deadline& deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!wait_for(fd, POLLOUT, deadline)) return false;
    } else if (sent == 0 || errno != EINTR)
      return false;
  }
  return true;
}

enum class Read { whole, gone, late };

Read read_all(int fd, char* into, std::size_t bytes, const Deadline& deadline) {
  while (bytes > 0) {
    const ssize_t came = recv(fd, into, bytes, MSG_DONTWAIT);
    if (came > 0) {
      into += came;
      bytes -= static_cast<std::size_t>(came);
    } else if (came < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!wait_for(fd, POLLIN, deadline)) return Read::late;
    } else if (came == 0 || errno != EINTR) {
      return Read::gone;
    }
  }
  return Read::whole;
}

/// Takes what comes and forgets it, until nothing more does.
void drain(int fd, const Deadline& deadline) {
  char unread[1 << 16];
  while (!deadline.passed()) {
    const ssize_t came = recv(fd, unread, sizeof unread, MSG_DONTWAIT);
    if (came > 0 || (came < 0 && errno == EINTR)) continue;
    if (came == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return;
    if (!wait_for(fd, POLLIN, deadline)) return;
  }
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

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

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

struct HostPort {
  std::string host, port;
};
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

/// Addresses of this machine that others may reach, and its own loopback address last.
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
          std::strchr(text, '%') == nullptr)  // of one link only
        found.emplace_back(text);
    }
    freeifaddrs(list);
  }
  found.emplace_back("127.0.0.1");
  return found;
}

// ---- Frames: a byte that says what it is, 8 bytes of length, and so many bytes
// --------------------

constexpr char data_frame = 'd';
constexpr char farewell_frame = 'f';

bool write_frame(int fd, char kind, std::string_view bytes, const Deadline& deadline) {
  std::string head(1, kind);
  const std::uint64_t size = bytes.size();
  head.append(reinterpret_cast<const char*>(&size), sizeof size);
  return write_all(fd, head, deadline) && write_all(fd, bytes, deadline);
}

class TcpExchange final : public Exchange {
 public:
  /// Connections by rank; that of this process is empty, and so are those between two others.
  TcpExchange(std::uint32_t rank, std::vector<Socket> peers, TimeNs answer_within_ns)
      : rank_(rank), peers_(std::move(peers)), answer_within_ns_(answer_within_ns) {}

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return static_cast<std::uint32_t>(peers_.size()); }

  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    const Deadline deadline(answer_within_ns_);
    if (write_frame(peers_[to].fd(), data_frame, bytes, deadline)) return {};
    // It may have said why it went.
    if (auto last = receive(to); !last) return last.error();
    return gone(to);
  }

  Result<std::string> receive(std::uint32_t from) override {
    const Deadline deadline(answer_within_ns_);
    const int fd = peers_[from].fd();
    char kind = 0;
    std::uint64_t size = 0;
    char head[1 + sizeof size];
    switch (read_all(fd, head, sizeof head, deadline)) {
      case Read::gone:
        return gone(from);
      case Read::late:
        return Error::failed("process " + std::to_string(from) + " does not answer");
      case Read::whole:
        break;
    }
    kind = head[0];
    std::memcpy(&size, head + 1, sizeof size);
    if ((kind != data_frame && kind != farewell_frame) || size > frame_bytes_max)
      return Error::failed("process " + std::to_string(from) + " sends what cannot be read");
    std::string bytes;
    // Memory as it comes: a length alone takes none.
    for (std::uint64_t left = size; left > 0;) {
      const std::size_t part = std::min<std::uint64_t>(left, 1 << 20);
      const std::size_t before = bytes.size();
      bytes.resize(before + part);
      const Read read = read_all(fd, bytes.data() + before, part, deadline);
      if (read == Read::gone) return gone(from);
      if (read == Read::late)
        return Error::failed("process " + std::to_string(from) + " does not answer");
      left -= part;
    }
    if (kind == farewell_frame) return farewell_in(bytes, from);
    return bytes;
  }

  void abandon(const Error& error) override {
    const Deadline deadline(1 * s_ns);
    for (const Socket& peer : peers_)
      if (peer) {
        write_frame(peer.fd(), farewell_frame, farewell_of(error), deadline);
        shutdown(peer.fd(), SHUT_WR);
      }
    // What came and was not read would take the farewell with it when the connection is closed.
    for (const Socket& peer : peers_)
      if (peer) drain(peer.fd(), deadline);
  }

 private:
  static Error gone(std::uint32_t rank) {
    return Error::failed("process " + std::to_string(rank) + " is gone");
  }

  std::uint32_t rank_;
  std::vector<Socket> peers_;
  TimeNs answer_within_ns_;
};

// ---- Process 0 ------------------------------------------------------------------------------

Result<Socket> listen_at(const std::string& rendezvous, std::uint16_t& port) {
  // Both kinds of address, where the kernel has both.
  sockaddr_in6 everywhere{};
  everywhere.sin6_family = AF_INET6;
  everywhere.sin6_addr = in6addr_any;
  sockaddr_in everywhere4{};
  everywhere4.sin_family = AF_INET;
  std::vector<std::pair<std::vector<char>, int>> choices;
  const auto add = [&](const sockaddr* address, socklen_t size) {
    const char* const bytes = reinterpret_cast<const char*>(address);
    choices.push_back({{bytes, bytes + size}, address->sa_family});
  };
  if (is_address(rendezvous)) {
    const HostPort where = split_address(rendezvous);
    auto found = look_up(where.host, where.port, AI_PASSIVE);
    if (!found) return found.error();
    for (const addrinfo* at = found->get(); at != nullptr; at = at->ai_next)
      add(at->ai_addr, at->ai_addrlen);
  } else {
    add(reinterpret_cast<const sockaddr*>(&everywhere), sizeof everywhere);
    add(reinterpret_cast<const sockaddr*>(&everywhere4), sizeof everywhere4);
  }
  int error = 0;
  for (const auto& [address, family] : choices) {
    Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1, off = 0;
    if (socket) {
      setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (family == AF_INET6) setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (!socket ||
        bind(socket.fd(), reinterpret_cast<const sockaddr*>(address.data()),
             static_cast<socklen_t>(address.size())) != 0 ||
        listen(socket.fd(), 128) != 0) {
      error = errno;
      continue;
    }
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    if (getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
      error = errno;
      continue;
    }
    port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&own)->sin6_port
                                    : reinterpret_cast<sockaddr_in*>(&own)->sin_port);
    return socket;
  }
  return Error::bad_input("--rendezvous: process 0 cannot listen at " + rendezvous + ": " +
                          std::strerror(error));
}

/// The file while the others come; it goes when all are here, or none will be let in any more.
class RendezvousFile {
 public:
  RendezvousFile() = default;
  RendezvousFile(RendezvousFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), file_(other.file_) {}
  RendezvousFile& operator=(RendezvousFile&&) = delete;
  ~RendezvousFile() {
    // By now it may be that of another run.
    struct stat now {};
    if (!path_.empty() && lstat(path_.c_str(), &now) == 0 && now.st_dev == file_.st_dev &&
        now.st_ino == file_.st_ino)
      unlink(path_.c_str());
  }

  /// Written aside and renamed, so that nobody reads half of it. One that an earlier run left is
  /// replaced, anything else stays.
  static Result<RendezvousFile> write(const std::string& path, const std::string& text) {
    if (auto ok = check_replaceable(path); !ok) return ok.error();
    std::string aside = path + ".XXXXXX";
    const Socket file(mkostemp(aside.data(), O_CLOEXEC));  // for its owner only
    const auto failed = [&] {
      const int error = errno;
      if (file) unlink(aside.c_str());
      return Error::bad_input("--rendezvous: " + path +
                              " cannot be written: " + std::strerror(error));
    };
    if (!file) return failed();
    RendezvousFile written;
    if (::write(file.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        fstat(file.fd(), &written.file_) != 0 || rename(aside.c_str(), path.c_str()) != 0)
      return failed();
    written.path_ = path;
    return written;
  }

 private:
  static Result<void> check_replaceable(const std::string& path) {
    struct stat there {};
    if (lstat(path.c_str(), &there) != 0) return {};
    if (S_ISREG(there.st_mode)) {
      std::ifstream file(path, std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      if (parse_rendezvous(text, path)) return {};
    }
    return Error::bad_input("--rendezvous: " + path +
                            " is there already and is no rendezvous file; expected a name that "
                            "is free");
  }

  std::string path_;
  struct stat file_ {};
};

/// Lets the others in.
class Door {
 public:
  Door(const TcpMeeting& meeting, Socket listener, std::string secret)
      : meeting_(meeting), listener_(std::move(listener)), secret_(std::move(secret)) {
    peers_.resize(meeting.ranks);
  }

  Result<std::vector<Socket>> wait() {
    const Deadline deadline(meeting_.join_within_ns);
    while (came_ + 1 < meeting_.ranks) {
      if (deadline.passed()) return tell_all(nobody_came());
      std::vector<pollfd> entries = {{listener_.fd(), POLLIN, 0}};
      for (const Stranger& stranger : strangers_)
        entries.push_back({stranger.socket.fd(), POLLIN, 0});
      poll(entries.data(), entries.size(), std::min(deadline.left_ms(), 1000));
      for (std::size_t i = strangers_.size(); i-- > 0;) {
        auto done =
            hear(strangers_[i], (entries[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0);
        if (!done) return tell_all(done.error());
        if (*done) strangers_.erase(strangers_.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if ((entries[0].revents & POLLIN) != 0 && strangers_.size() < strangers_max) {
        Socket socket(accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
        if (socket) strangers_.push_back({std::move(socket), {}, Deadline(hello_within_ns)});
      }
    }
    return std::move(peers_);
  }

 private:
  struct Stranger {
    Socket socket;
    std::string said;
    Deadline until;
  };

  /// True when it is no stranger any more, or was sent away. Fails when the run cannot be.
  Result<bool> hear(Stranger& stranger, bool ready) {
    char buffer[hello_bytes_max];
    if (ready) {
      const ssize_t came = recv(stranger.socket.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (came == 0) return true;
      if (came > 0) stranger.said.append(buffer, static_cast<std::size_t>(came));
    }
    const std::size_t end = stranger.said.find('\n');
    if (end == std::string::npos) {
      if (stranger.said.size() < hello_bytes_max && !stranger.until.passed()) return false;
      ++sent_away_;
      return true;
    }
    const auto hello = parse_hello(std::string_view(stranger.said).substr(0, end));
    if (!hello || !same_secret(hello->secret, secret_)) {
      ++sent_away_;
      answer(stranger, hello ? "it does not know the secret of the run" : hello.error().message);
      return true;
    }
    if (const std::string wrong = wrong_with(*hello); !wrong.empty()) {
      answer(stranger, wrong);
      return Error::bad_input(wrong);
    }
    prepare(stranger.socket.fd());
    if (write_all(stranger.socket.fd(), welcome, Deadline(1 * s_ns))) {
      peers_[hello->rank] = std::move(stranger.socket);
      ++came_;
    }
    return true;
  }

  std::string wrong_with(const Hello& hello) const {
    const std::string who = "process " + std::to_string(hello.rank);
    if (hello.protocol != protocol || hello.version != meeting_.version)
      return who + " is kvhaul " + hello.version + ", process 0 is " + meeting_.version +
             "; expected one version";
    if (hello.ranks != meeting_.ranks)
      return who + " expects " + std::to_string(hello.ranks) + " processes, process 0 " +
             std::to_string(meeting_.ranks);
    if (hello.rank == 0 || hello.rank >= meeting_.ranks || peers_[hello.rank])
      return "there is more than one process " + std::to_string(hello.rank);
    return "";
  }

  static void answer(const Stranger& stranger, const std::string& reason) {
    write_all(stranger.socket.fd(), "no " + reason + "\n", Deadline(1 * s_ns));
  }

  Error nobody_came() const {
    std::string missing;
    for (std::uint32_t rank = 1; rank < meeting_.ranks; ++rank)
      if (!peers_[rank]) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
    std::string text =
        "process " + missing + " did not come within " + duration_text(meeting_.join_within_ns);
    if (sent_away_ == 1)
      text += "; one was refused because it did not know the secret of the run";
    else if (sent_away_ > 1)
      text += "; " + std::to_string(sent_away_) +
              " were refused because they did not know the secret of the run";
    return Error::bad_input(text);
  }

  /// Those who are here go with the same words.
  Error tell_all(const Error& error) {
    TcpExchange(0, std::move(peers_), 1 * s_ns).abandon(error);
    return error;
  }

  const TcpMeeting& meeting_;
  Socket listener_;
  std::string secret_;
  std::vector<Socket> peers_;
  std::uint32_t came_ = 0;
  std::uint64_t sent_away_ = 0;
  std::vector<Stranger> strangers_;
};

Result<std::vector<Socket>> lead(const TcpMeeting& meeting) {
  std::uint16_t port = 0;
  auto listener = listen_at(meeting.rendezvous, port);
  if (!listener) return listener.error();
  if (is_address(meeting.rendezvous))
    return Door(meeting, std::move(*listener), meeting.secret).wait();
  auto secret = make_secret();
  if (!secret) return secret.error();
  auto file = RendezvousFile::write(meeting.rendezvous,
                                    rendezvous_text({host_name(), own_addresses(), port, *secret}));
  if (!file) return file.error();
  return Door(meeting, std::move(*listener), *secret).wait();
}

// ---- The others -----------------------------------------------------------------------------

/// Connected, or not there (yet).
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

/// Says hello and waits for the answer. Nothing: this is not the one, or it went away.
Result<bool> introduce(const Socket& socket, const Hello& hello, const Deadline& deadline) {
  if (!write_all(socket.fd(), hello_line(hello), deadline)) return false;
  std::string answer;
  while (!answer.ends_with('\n')) {
    char byte = 0;
    if (answer.size() > 1024 || read_all(socket.fd(), &byte, 1, deadline) != Read::whole)
      return false;
    answer += byte;
  }
  if (answer == welcome) return true;
  if (!answer.starts_with("no ") ||
      !std::all_of(answer.begin(), answer.end() - 1, [](char c) { return c >= ' ' && c <= '~'; }))
    return false;
  return Error::bad_input("process 0 refuses this one: " + answer.substr(3, answer.size() - 4));
}

struct Goal {
  std::vector<HostPort> addresses;
  std::string secret;
};

/// Nothing: the file is not there yet.
Result<std::optional<Goal>> read_goal(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (errno == ENOENT) return std::optional<Goal>();
    return Error::bad_input("--rendezvous: " + path + " cannot be read: " + std::strerror(errno));
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  auto parsed = parse_rendezvous(text, path);
  if (!parsed) return Error::bad_input("--rendezvous: " + parsed.error().message);
  Goal goal{{}, parsed->secret};
  const std::string port = std::to_string(parsed->port);
  for (const std::string& address : parsed->addresses) goal.addresses.push_back({address, port});
  // On one machine its own address is the one that surely works.
  if (parsed->host == host_name()) std::reverse(goal.addresses.begin(), goal.addresses.end());
  return std::optional(goal);
}

Result<std::vector<Socket>> follow(const TcpMeeting& meeting) {
  const Deadline deadline(meeting.join_within_ns);
  const bool by_file = !is_address(meeting.rendezvous);
  bool answered = false, seen = false;
  while (!deadline.passed()) {
    std::optional<Goal> goal = Goal{{split_address(meeting.rendezvous)}, meeting.secret};
    if (by_file) {
      auto read = read_goal(meeting.rendezvous);
      if (!read) return read.error();
      goal = *read;
    }
    seen = seen || goal;
    for (const HostPort& address : goal ? goal->addresses : std::vector<HostPort>()) {
      auto found = look_up(address.host, address.port, by_file ? AI_NUMERICHOST : 0);
      if (!found && !by_file) return found.error();
      if (!found) continue;
      for (const addrinfo* at = found->get(); at != nullptr; at = at->ai_next) {
        const Deadline soon(std::min<TimeNs>(hello_within_ns, TimeNs{deadline.left_ms()} * ms_ns));
        Socket socket = connect_to(*at, soon);
        if (!socket) continue;
        answered = true;
        auto let_in = introduce(
            socket, {protocol, meeting.version, meeting.rank, meeting.ranks, goal->secret}, soon);
        if (!let_in) return let_in.error();
        if (!*let_in) continue;
        std::vector<Socket> peers(meeting.ranks);
        peers[0] = std::move(socket);
        return peers;
      }
    }
    poll(nullptr, 0, std::min(look_again_ms, deadline.left_ms()));
  }
  const std::string within = " within " + duration_text(meeting.join_within_ns);
  if (by_file && !seen)
    return Error::bad_input("--rendezvous: " + meeting.rendezvous + " did not appear" + within +
                            "; process 0 makes it, where all processes can read it");
  return Error::bad_input(
      "--rendezvous: " +
      (answered ? "what answers at " + meeting.rendezvous + " is no process 0 of a kvhaul run"
                : "no process 0 could be reached through " + meeting.rendezvous + within));
}

}  // namespace

bool is_address(const std::string& rendezvous) {
  const std::size_t colon = rendezvous.rfind(':');
  return colon != std::string::npos && colon > 0 && colon + 1 < rendezvous.size() &&
         rendezvous.find('/') == std::string::npos &&
         rendezvous.find_first_not_of("0123456789", colon + 1) == std::string::npos;
}

Result<std::unique_ptr<Exchange>> meet_over_tcp(const TcpMeeting& meeting) {
  if (meeting.ranks == 1) return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  auto peers = meeting.rank == 0 ? lead(meeting) : follow(meeting);
  if (!peers) return peers.error();
  return std::unique_ptr<Exchange>(
      std::make_unique<TcpExchange>(meeting.rank, std::move(*peers), meeting.answer_within_ns));
}

}  // namespace kvhaul
