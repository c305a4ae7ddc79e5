// All of MPI that kvhaul uses.
#include <chrono>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mpi.h>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/unit_text.h"
#include "processes/mpi_exchange.h"

namespace kvhaul {
namespace {

using Clock = std::chrono::steady_clock;

// Tags: what a message is.
constexpr int data = 1;
constexpr int farewell = 2;
constexpr int beat = 3;  // nothing but that the sender is alive

constexpr auto eager_for = std::chrono::milliseconds(20);
constexpr auto beat_every = std::chrono::seconds(1);

class MpiExchange final : public Exchange {
 public:
  MpiExchange(TimeNs answer_within_ns, TimeNs silent_after_ns)
      : answer_within_ns_(answer_within_ns), silent_after_ns_(silent_after_ns) {
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rank_ = static_cast<std::uint32_t>(rank);
    size_ = static_cast<std::uint32_t>(size);
    partners_.resize(size_);
    if (!watches()) return;
    // Signals are for the thread that made this one.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    beating_ = std::thread([this] { keep_beating(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  MpiExchange(const MpiExchange&) = delete;
  MpiExchange& operator=(const MpiExchange&) = delete;
  /// Waits for the others, unless one of them no longer answers.
  ~MpiExchange() override {
    if (watches() && !silent_) wait_for_all_to_leave();
    if (beating_.joinable()) {
      {
        const std::lock_guard lock(ending_mutex_);
        ending_ = true;
      }
      ending_changed_.notify_all();
      beating_.join();
    }
    if (silent_) {
      // Nothing of this process is heard after it.
      std::fprintf(stderr, "kvhaul: %s\n", why_.c_str());
      MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ErrorKind::failed));
      return;
    }
    for (Partner& partner : partners_)
      if (partner.beat != MPI_REQUEST_NULL) MPI_Request_free(&partner.beat);
    MPI_Finalize();
  }

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }

  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    return send(to, bytes, data);
  }

  Result<std::string> receive(std::uint32_t from) override {
    const std::lock_guard lock(mutex_);
    return receive_one(from, {&from, 1});
  }

  Result<std::vector<std::string>> receive_from_all() override {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> messages(1);
    std::vector<std::uint32_t> all;
    for (std::uint32_t rank = 1; rank < size_; ++rank) all.push_back(rank);
    for (const std::uint32_t rank : all) {
      auto message = receive_one(rank, all);
      if (!message) return message.error();
      messages.push_back(std::move(*message));
    }
    return messages;
  }

  void abandon(const Error& error) override {
    const std::lock_guard lock(mutex_);
    why_ = error.message;
    for (std::uint32_t to = 0; to < size_; ++to)
      if (is_partner(to) && !silent_) (void)send(to, farewell_of(error), farewell);
  }

 private:
  struct Partner {
    MPI_Request beat = MPI_REQUEST_NULL;  // on its way to it
    Clock::time_point heard = Clock::now();
  };

  bool watches() const { return silent_after_ns_ != never_ns && size_ > 1; }
  bool is_partner(std::uint32_t rank) const { return rank != rank_ && (rank_ == 0 || rank == 0); }

  Result<void> send(std::uint32_t to, std::string_view bytes, int tag) {
    if (bytes.size() > INT_MAX) return Error::failed("a message of more than 2 GiB");
    const Error failed = Error::failed("MPI could not send to process " + std::to_string(to));
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, static_cast<int>(to), tag,
                  MPI_COMM_WORLD, &request) != MPI_SUCCESS)
      return failed;
    return complete(request, {&to, 1}, failed);
  }

  Result<std::string> receive_one(std::uint32_t from, std::span<const std::uint32_t> watched) {
    MPI_Status status;
    const Error unasked = Error::failed("MPI could not ask for a message");
    while (true) {
      auto came = wait_until(
          [&](int& here) {
            return MPI_Iprobe(static_cast<int>(from), MPI_ANY_TAG, MPI_COMM_WORLD, &here, &status);
          },
          watched, unasked);
      if (!came) return came.error();
      if (status.MPI_TAG != beat) break;
      hear_beat(from);
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    std::string text(static_cast<std::size_t>(bytes), '\0');
    const Error failed =
        Error::failed("MPI could not receive from process " + std::to_string(from));
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Irecv(text.data(), bytes, MPI_BYTE, static_cast<int>(from), status.MPI_TAG,
                  MPI_COMM_WORLD, &request) != MPI_SUCCESS)
      return failed;
    if (auto ok = complete(request, {&from, 1}, failed); !ok) return ok.error();
    partners_[from].heard = Clock::now();
    if (status.MPI_TAG == farewell) return farewell_in(text, from);
    return text;
  }

  Result<void> complete(MPI_Request& request, std::span<const std::uint32_t> watched,
                        const Error& failed) {
    return wait_until([&](int& done) { return MPI_Test(&request, &done, MPI_STATUS_IGNORE); },
                      watched, failed);
  }

  /// Asks again at once at first: clocks are compared by round trips.
  Result<void> wait_until(const std::function<int(int&)>& ask,
                          std::span<const std::uint32_t> watched, const Error& failed) {
    const Clock::time_point begin = Clock::now();
    while (true) {
      int done = 0;
      if (ask(done) != MPI_SUCCESS) return failed;
      if (done != 0) return {};
      if (Clock::now() - begin < eager_for) continue;
      attend();
      for (const std::uint32_t rank : watched) {
        const std::string who = "process " + std::to_string(rank);
        if (has_stopped(rank)) {
          silent_ = true;
          return Error::failed(who + " has stopped: nothing was heard of it for " +
                               duration_text(silent_after_ns_));
        }
        if (answer_within_ns_ != never_ns &&
            Clock::now() - begin > std::chrono::nanoseconds(answer_within_ns_)) {
          silent_ = true;
          return Error::failed(who + " does not answer");
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  bool has_stopped(std::uint32_t rank) const {
    return watches() && is_partner(rank) &&
           Clock::now() - partners_[rank].heard > std::chrono::nanoseconds(silent_after_ns_);
  }

  /// Says that this process lives, when that is due, and hears who else does.
  void attend() {
    if (!watches()) return;
    const Clock::time_point now = Clock::now();
    const bool due = now - beaten_ >= beat_every;
    if (due) beaten_ = now;
    for (std::uint32_t rank = 0; rank < size_; ++rank) {
      if (!is_partner(rank)) continue;
      while (true) {
        int here = 0;
        MPI_Status status;
        if (MPI_Iprobe(static_cast<int>(rank), beat, MPI_COMM_WORLD, &here, &status) !=
                MPI_SUCCESS ||
            here == 0)
          break;
        hear_beat(rank);
      }
      // One at a time: none heaps up before a process that has stopped.
      MPI_Request& request = partners_[rank].beat;
      int gone = 1;
      if (!due || MPI_Test(&request, &gone, MPI_STATUS_IGNORE) != MPI_SUCCESS || gone == 0)
        continue;
      MPI_Isend(nullptr, 0, MPI_BYTE, static_cast<int>(rank), beat, MPI_COMM_WORLD, &request);
    }
  }

  void hear_beat(std::uint32_t from) {
    MPI_Recv(nullptr, 0, MPI_BYTE, static_cast<int>(from), beat, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    partners_[from].heard = Clock::now();
  }

  /// MPI_Finalize() would wait for good for one that has stopped.
  void wait_for_all_to_leave() {
    const std::lock_guard lock(mutex_);
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return;
    std::vector<std::uint32_t> watched;
    for (std::uint32_t rank = 0; rank < size_; ++rank)
      if (is_partner(rank)) watched.push_back(rank);
    (void)complete(request, watched, Error::failed("MPI has no barrier"));
  }

  /// While the main thread does something else, which may take minutes.
  void keep_beating() {
    std::unique_lock ending(ending_mutex_);
    while (!ending_changed_.wait_for(ending, beat_every / 4, [&] { return ending_; })) {
      const std::unique_lock lock(mutex_, std::try_to_lock);
      if (lock) attend();
    }
  }

  const TimeNs answer_within_ns_, silent_after_ns_;
  std::uint32_t rank_ = 0, size_ = 1;
  bool silent_ = false;            // another one is
  std::string why_;                // this one leaves
  std::mutex mutex_;               // of MPI; held while a call of the exchange lasts
  std::vector<Partner> partners_;  // by rank; of process 0 all, of the others process 0
  Clock::time_point beaten_{};
  std::mutex ending_mutex_;
  std::condition_variable ending_changed_;
  bool ending_ = false;
  std::thread beating_;
};

}  // namespace

bool started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

Result<std::unique_ptr<Exchange>> join_mpi(const char* what, TimeNs answer_within_ns,
                                           TimeNs silent_after_ns) {
  if (!started_by_mpi()) return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  // A rank of a sweep starts its replays with fork() and exec() and touches nothing in between.
  setenv("OMPI_MCA_mpi_warn_on_fork", "0", 0);
  int threads = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr,
                      silent_after_ns == never_ns ? MPI_THREAD_SINGLE : MPI_THREAD_SERIALIZED,
                      &threads) != MPI_SUCCESS)
    return Error::missing(std::string(what) + ": MPI cannot be started here");
  if (threads < MPI_THREAD_SERIALIZED) silent_after_ns = never_ns;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  return std::unique_ptr<Exchange>(
      std::make_unique<MpiExchange>(answer_within_ns, silent_after_ns));
}

}  // namespace kvhaul
