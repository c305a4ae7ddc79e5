#include "tests/sim/plain_s4u.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <simgrid/s4u.hpp>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/simgrid_wire.h"

namespace kvhaul::test {
namespace {

namespace s4u = simgrid::s4u;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

PlainRun simulate(const Cluster& cluster, std::span<const ChannelRequest> requests,
                  std::span<const Job> jobs) {
  std::vector<std::string> arguments = {"plain",
                                        "--cfg=network/model:CM02",
                                        "--cfg=network/crosstraffic:0",
                                        "--cfg=network/TCP-gamma:1e15",
                                        "--cfg=network/weight-S:0",
                                        "--cfg=surf/precision:1e-12",
                                        "--cfg=contexts/stack-size:64",
                                        "--log=root.thresh:critical"};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  int argc = static_cast<int>(argv.size());
  s4u::Engine engine(&argc, argv.data());
  s4u::NetZone* zone = s4u::create_full_zone("cluster");
  const auto side =
      static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(requests.size()))));
  std::vector<s4u::Host*> from, to;
  for (std::size_t i = 0; i < side; ++i) {
    from.push_back(zone->create_host("from" + std::to_string(i), 1e9));
    to.push_back(zone->create_host("to" + std::to_string(i), 1e9));
  }
  std::vector<s4u::Link*> links;
  for (const Link& link : cluster.links)
    links.push_back(zone->create_link(link.name, link.bytes_per_s)->set_latency(0));
  for (ChannelId id = 0; id < requests.size(); ++id) {
    std::vector<s4u::LinkInRoute> road;
    for (const LinkId link : requests[id].route.hops) road.emplace_back(links[link]);
    zone->add_route(from[id / side]->get_netpoint(), to[id % side]->get_netpoint(), nullptr,
                    nullptr, road, false);
  }
  zone->seal();
  std::vector<std::vector<std::size_t>> of_channel(requests.size());
  for (std::size_t j = 0; j < jobs.size(); ++j) of_channel[jobs[j].channel].push_back(j);
  PlainRun run;
  run.done_s.resize(jobs.size());
  for (ChannelId id = 0; id < requests.size(); ++id) {
    if (of_channel[id].empty()) continue;
    s4u::Actor::create("channel" + std::to_string(id), from[id / side], [&, id] {
      for (const std::size_t j : of_channel[id]) {
        const double ready = static_cast<double>(jobs[j].ready_ps) * 1e-12;
        if (ready > s4u::Engine::get_clock()) s4u::this_actor::sleep_until(ready);
        s4u::Comm::sendto(from[id / side], to[id % side], jobs[j].bytes);
        run.done_s[j] = s4u::Engine::get_clock();
      }
    });
  }
  const Clock::time_point start = Clock::now();
  engine.run();
  run.wall_s = seconds_since(start);
  return run;
}

bool write_all(int file, const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::write(file, at, bytes);
    if (wrote <= 0) return false;
    at += wrote;
    bytes -= static_cast<std::size_t>(wrote);
  }
  return true;
}

bool read_all(int file, void* data, std::size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::read(file, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

PlainRun run_wire(modelled::Wire& wire, std::span<const Job> jobs) {
  std::size_t channels = 0;
  for (const Job& job : jobs) channels = std::max<std::size_t>(channels, job.channel + 1);
  std::vector<std::vector<std::size_t>> queues(channels);
  for (std::size_t j = jobs.size(); j-- > 0;) queues[jobs[j].channel].push_back(j);  // next is last
  // Channels that wait for their next job to become ready, latest first.
  std::vector<std::pair<modelled::TimePs, ChannelId>> waiting;
  for (ChannelId id = 0; id < channels; ++id)
    if (!queues[id].empty()) waiting.emplace_back(jobs[queues[id].back()].ready_ps, id);
  const auto later = [](const auto& a, const auto& b) { return a > b; };
  std::make_heap(waiting.begin(), waiting.end(), later);
  PlainRun run;
  run.done_s.resize(jobs.size());
  const Clock::time_point start = Clock::now();
  const auto enter = [&](ChannelId id, modelled::TimePs now) {
    const Job& job = jobs[queues[id].back()];
    wire.enter({id, job.alone_ps, job.bytes}, now);
  };
  while (true) {
    const modelled::TimePs leaves = wire.next_ps();
    if (!waiting.empty() && waiting.front().first < leaves) {
      const auto [at, id] = waiting.front();
      std::pop_heap(waiting.begin(), waiting.end(), later);
      waiting.pop_back();
      enter(id, at);
      continue;
    }
    if (leaves == modelled::never_ps) break;
    const ChannelId id = wire.leave();
    run.done_s[queues[id].back()] = static_cast<double>(leaves) * 1e-12;
    queues[id].pop_back();
    if (queues[id].empty()) continue;
    const modelled::TimePs ready = jobs[queues[id].back()].ready_ps;
    if (ready <= leaves) {
      enter(id, leaves);
      continue;
    }
    waiting.emplace_back(ready, id);
    std::push_heap(waiting.begin(), waiting.end(), later);
  }
  run.wall_s = seconds_since(start);
  return run;
}

PlainRun in_child(std::size_t jobs, const std::function<PlainRun()>& simulate) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    const PlainRun run = simulate();
    const bool sent = write_all(ends[1], &run.wall_s, sizeof run.wall_s) &&
                      write_all(ends[1], run.done_s.data(), run.done_s.size() * sizeof(double));
    ::_exit(sent ? 0 : 1);
  }
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    return {};
  }
  PlainRun run;
  run.done_s.resize(jobs);
  const bool complete = read_all(ends[0], &run.wall_s, sizeof run.wall_s) &&
                        read_all(ends[0], run.done_s.data(), jobs * sizeof(double));
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return complete ? run : PlainRun{};
}

}  // namespace

PlainRun run_plain_s4u(const Cluster& cluster, std::span<const ChannelRequest> requests,
                       std::span<const Job> jobs) {
  return in_child(jobs.size(), [&] { return simulate(cluster, requests, jobs); });
}

PlainRun run_backend_wire(const Cluster& cluster, std::span<const ChannelRequest> requests,
                          std::span<const Job> jobs) {
  return in_child(jobs.size(), [&] {
    sim::SimgridWire wire(cluster, requests);
    return run_wire(wire, jobs);
  });
}

}  // namespace kvhaul::test
