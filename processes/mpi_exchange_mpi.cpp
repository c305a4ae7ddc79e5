// All of MPI that kvhaul uses.
#include <chrono>
#include <climits>
#include <cstdlib>
#include <mpi.h>
#include <string>
#include <thread>

#include "processes/mpi_exchange.h"

namespace kvhaul {
namespace {

using Clock = std::chrono::steady_clock;

// Tags: what a message is.
constexpr int data = 1;
constexpr int farewell = 2;

class MpiExchange final : public Exchange {
 public:
  explicit MpiExchange(TimeNs answer_within_ns) : answer_within_ns_(answer_within_ns) {
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rank_ = static_cast<std::uint32_t>(rank);
    size_ = static_cast<std::uint32_t>(size);
  }
  MpiExchange(const MpiExchange&) = delete;
  MpiExchange& operator=(const MpiExchange&) = delete;
  /// Waits for the others, unless one of them no longer answers.
  ~MpiExchange() override {
    if (silent_)
      MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ErrorKind::failed));
    else
      MPI_Finalize();
  }

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }

  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    return send(to, bytes, data);
  }

  Result<std::string> receive(std::uint32_t from) override {
    MPI_Status status;
    if (auto came = wait_for(from, status); !came) return came.error();
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    std::string text(static_cast<std::size_t>(bytes), '\0');
    if (MPI_Recv(text.data(), bytes, MPI_BYTE, static_cast<int>(from), status.MPI_TAG,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE) != MPI_SUCCESS)
      return Error::failed("MPI could not receive from process " + std::to_string(from));
    if (status.MPI_TAG == farewell) return farewell_in(text, from);
    return text;
  }

  void abandon(const Error& error) override {
    for (std::uint32_t to = 0; to < size_; ++to)
      if (to != rank_ && (rank_ == 0 || to == 0)) (void)send(to, farewell_of(error), farewell);
  }

 private:
  static Result<void> send(std::uint32_t to, std::string_view bytes, int tag) {
    if (bytes.size() > INT_MAX) return Error::failed("a message of more than 2 GiB");
    if (MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, static_cast<int>(to), tag,
                 MPI_COMM_WORLD) != MPI_SUCCESS)
      return Error::failed("MPI could not send to process " + std::to_string(to));
    return {};
  }

  /// Asks often at first: clocks are compared by round trips.
  Result<void> wait_for(std::uint32_t from, MPI_Status& status) {
    const Clock::time_point begin = Clock::now();
    for (std::uint64_t tries = 0;; ++tries) {
      int here = 0;
      if (MPI_Iprobe(static_cast<int>(from), MPI_ANY_TAG, MPI_COMM_WORLD, &here, &status) !=
          MPI_SUCCESS)
        return Error::failed("MPI could not ask for a message");
      if (here != 0) return {};
      if (tries < 100'000) continue;
      if (answer_within_ns_ != never_ns &&
          Clock::now() - begin > std::chrono::nanoseconds(answer_within_ns_)) {
        silent_ = true;
        return Error::failed("process " + std::to_string(from) + " does not answer");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  TimeNs answer_within_ns_;
  std::uint32_t rank_ = 0, size_ = 1;
  bool silent_ = false;
};

}  // namespace

bool started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

Result<std::unique_ptr<Exchange>> join_mpi(const char* what, TimeNs answer_within_ns) {
  if (!started_by_mpi()) return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  // A rank of a sweep starts its replays with fork() and exec() and touches nothing in between.
  setenv("OMPI_MCA_mpi_warn_on_fork", "0", 0);
  if (MPI_Init(nullptr, nullptr) != MPI_SUCCESS)
    return Error::missing(std::string(what) + ": MPI cannot be started here");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  return std::unique_ptr<Exchange>(std::make_unique<MpiExchange>(answer_within_ns));
}

}  // namespace kvhaul
