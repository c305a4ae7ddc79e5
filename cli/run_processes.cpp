#include "cli/run_processes.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "cli/version.h"
#include "core/checksum.h"
#include "core/random.h"
#include "processes/mpi_exchange.h"
#include "processes/rendezvous.h"
#include "processes/tcp_exchange.h"
#include "serving/replay.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

constexpr const char* secret_variable = "KVHAUL_SECRET";

Result<std::string> read_secret(const std::string& file) {
  if (!file.empty()) return read_secret_file(file);
  const char* const secret = std::getenv(secret_variable);
  if (secret == nullptr)
    return Error::bad_input(
        "--rendezvous HOST:PORT: expected a secret of the run, the same for all its processes, in "
        "--secret FILE or KVHAUL_SECRET; 'openssl rand -hex 16' prints one");
  if (auto ok = check_secret(secret, secret_variable); !ok) return ok.error();
  return std::string(secret);
}

}  // namespace

void declare_process_options(Options& options) {
  options.group("Several processes, with backend verbs");
  options.add()  //
      ("rendezvous", po::value<Text>(),
       "verbs: a run of several processes; FILE, which process 0 writes where all can read it, or "
       "HOST:PORT of process 0")                                                     //
      ("rank", po::value<Text>(), "the number of this process, from 0")              //
      ("ranks", po::value<Text>(), "how many processes there are")                   //
      ("secret", po::value<Text>(), "with HOST:PORT: a file with the run's secret")  //
      ("listen", po::value<Text>(),
       "with FILE: the addresses at which process 0 listens, with commas between; else those of "
       "all "
       "its interfaces")  //
      ("join-within", po::value<Text>()->default_value("60"),
       "seconds for all processes to come")  //
      ("silent-after", po::value<Text>()->default_value("15"),
       "before and after the run: seconds of silence after which another process has stopped")  //
      ("node-ranks", po::value<Text>(),
       "the process of each node of the scenario: 0,0,1,1; else dealt evenly");
}

Result<void> read_process_options(const Options& options, ProcessOptions& read) {
  read.rendezvous = options.maybe_text("rendezvous").value_or("");
  read.secret_file = options.maybe_text("secret").value_or("");
  const bool has_rank = options.has("rank"), has_ranks = options.has("ranks");
  if (read.rendezvous.empty() ? has_rank || has_ranks : !has_rank || !has_ranks)
    return Error::bad_input("expected --rendezvous, --rank and --ranks together");
  if (options.has("secret") && (read.rendezvous.empty() || !is_address(read.rendezvous)))
    return Error::bad_input("--secret is for --rendezvous HOST:PORT; a file has its own");
  if (options.has("listen") && (read.rendezvous.empty() || is_address(read.rendezvous)))
    return Error::bad_input("--listen is for --rendezvous FILE; HOST:PORT says where");
  read.listen = options.maybe_text("listen").value_or("");
  if (has_ranks) {
    auto ranks = options.count("ranks", 1, 4096);
    if (!ranks) return ranks.error();
    auto rank = options.count("rank", 0, *ranks - 1);
    if (!rank) return rank.error();
    read.ranks = static_cast<std::uint32_t>(*ranks);
    read.rank = static_cast<std::uint32_t>(*rank);
  }
  auto within = options.number("join-within", 0.1, 86400);
  if (!within) return within.error();
  read.join_within_ns = static_cast<TimeNs>(*within * 1e9);
  auto silent = options.number("silent-after", 5, 86400);
  if (!silent) return silent.error();
  read.silent_after_ns = static_cast<TimeNs>(*silent * 1e9);
  if (const auto list = options.maybe_text("node-ranks")) {
    const char* at = list->data();
    const char* const end = at + list->size();
    while (true) {
      std::uint32_t rank = 0;
      const auto [after, error] = std::from_chars(at, end, rank);
      if (error != std::errc() || (after != end && *after != ',') || rank >= 4096)
        return Error::bad_input(
            "--node-ranks: expected numbers of processes with commas between, like 0,0,1,1; found "
            "'" +
            *list + "'");
      read.node_ranks.push_back(rank);
      if (after == end) break;
      at = after + 1;
    }
  }
  return {};
}

Result<std::unique_ptr<Exchange>> join_processes(const ProcessOptions& options, bool mpi,
                                                 const std::string& scenario) {
  const TimeNs answer_within_ns = 1200 * s_ns;  // registering memory takes its time
  if (options.rendezvous.empty()) {
    if (mpi) return join_mpi("kvhaul replay", answer_within_ns, options.silent_after_ns);
    return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  }
  TcpMeeting meeting;
  meeting.rendezvous = options.rendezvous;
  meeting.version = version;
  meeting.rank = options.rank;
  meeting.ranks = options.ranks;
  meeting.join_within_ns = options.join_within_ns;
  meeting.answer_within_ns = answer_within_ns;
  meeting.silent_after_ns = options.silent_after_ns;
  meeting.scenario = scenario;
  meeting.listen = options.listen;
  if (is_address(options.rendezvous)) {
    auto secret = read_secret(options.secret_file);
    if (!secret) return secret.error();
    meeting.secret = *secret;
  }
  return meet_over_tcp(meeting);
}

Result<std::vector<std::uint32_t>> deal_nodes(const ReplayConfig& config, const Cluster& cluster,
                                              std::uint32_t processes,
                                              const std::vector<std::uint32_t>& chosen) {
  std::set<NodeId> used;
  for (const auto* role : {&config.prefill, &config.decode})
    for (const std::vector<PlaceId>& places : role->instances)
      for (const PlaceId place : places) used.insert(cluster.places[place].node);
  std::vector<std::uint32_t> ranks = chosen;
  if (chosen.empty()) {
    if (processes > used.size())
      return Error::bad_input(std::to_string(processes) + " processes, but only " +
                              std::to_string(used.size()) +
                              " nodes of the scenario have an instance; expected no more processes "
                              "than those");
    // A node without instances goes with the one before it.
    std::size_t before = 0;
    for (NodeId node = 0; node < cluster.nodes.size(); ++node) {
      ranks.push_back(
          static_cast<std::uint32_t>((before == 0 ? 0 : before - 1) * processes / used.size()));
      if (used.count(node) == 0) continue;
      ranks.back() = static_cast<std::uint32_t>(before++ * processes / used.size());
    }
    return ranks;
  }
  if (ranks.size() != cluster.nodes.size())
    return Error::bad_input("--node-ranks: expected a process for each of the " +
                            std::to_string(cluster.nodes.size()) +
                            " nodes of the scenario, found " + std::to_string(ranks.size()));
  std::set<std::uint32_t> have;
  for (const NodeId node : used) have.insert(ranks[node]);
  for (const std::uint32_t rank : ranks)
    if (rank >= processes)
      return Error::bad_input("--node-ranks: there are " + std::to_string(processes) +
                              " processes; none is process " + std::to_string(rank));
  for (std::uint32_t rank = 0; rank < processes; ++rank)
    if (have.count(rank) == 0)
      return Error::bad_input("--node-ranks: process " + std::to_string(rank) +
                              " has no node with an instance");
  const NodeId first = front_node_of(config, cluster);
  if (ranks[first] != 0)
    return Error::bad_input("--node-ranks: expected process 0 for " + cluster.nodes[first].name +
                            ", the first node with an instance; it reads the trace");
  return ranks;
}

Result<void> compare_processes(Exchange& exchange,
                               const std::vector<std::pair<std::string, std::string>>& things) {
  std::string mine;
  for (const auto& [name, value] : things) mine += name + "=" + digest_of(value) + "\n";
  auto all = all_gather(exchange, mine);
  if (!all) return all.error();
  for (std::uint32_t rank = 1; rank < all->size(); ++rank) {
    std::string_view first = (*all)[0], other = (*all)[rank];
    while (first != other) {
      const std::string_view line = first.substr(0, first.find('\n'));
      const std::string_view their_line = other.substr(0, other.find('\n'));
      if (line != their_line)
        return Error::bad_input("process " + std::to_string(rank) + " has another " +
                                std::string(line.substr(0, line.find('='))) +
                                " than process 0; expected the same in all processes");
      first.remove_prefix(std::min(first.size(), line.size() + 1));
      other.remove_prefix(std::min(other.size(), line.size() + 1));
    }
  }
  return {};
}

Result<std::string> digest_of_file(const std::string& path) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) return std::string();
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::bad_input("cannot open '" + path + "': " + std::strerror(errno));
  std::string block(1 << 20, '\0');
  std::string digest;
  while (file) {
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    digest = digest_of(digest + digest_of({block.data(), static_cast<std::size_t>(file.gcount())}));
  }
  return digest;
}

std::string digest_of(std::string_view text) {
  const std::uint64_t sum =
      mix64(checksum(std::as_bytes(std::span(text.data(), text.size()))) ^ mix64(text.size()));
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, sum, 16);
  return {digits, end.ptr};
}

}  // namespace kvhaul::cli
