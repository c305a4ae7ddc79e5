// Small scheduler setups and clusters for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/channel_plan.h"
#include "core/cluster.h"
#include "core/scheduler_setup.h"

namespace kvhaul::test {

/// 1 GB/s: one byte per nanosecond, so that times in tests can be read off sizes.
inline constexpr double byte_per_ns = 1e9;

inline ChannelNumbers plain_channel() {
  ChannelNumbers numbers;
  numbers.bytes_per_s = byte_per_ns;
  numbers.max_in_flight = 128;
  numbers.max_chunk_bytes = GiB;
  return numbers;
}

/// One pair with that many equal channels, no shared links, no limits but the windows.
inline SchedulerSetup one_pair(std::uint32_t channels) {
  SchedulerSetup setup;
  setup.pairs.push_back({0, 1, 0});
  setup.accounts.push_back({1, 0, Bytes{1} << 60, Bytes{1} << 60, false});
  for (std::uint32_t c = 0; c < channels; ++c)
    setup.channels.push_back({c, 0, 0, plain_channel(), {}});
  setup.config.chunk_bytes = 1000;
  setup.config.channel_window_ns = 2000;
  setup.config.link_window_ns = 8000;
  return setup;
}

/// Pairs 0..n-1 with one channel each; all channels cross one shared link of the same rate.
inline SchedulerSetup pairs_on_one_link(std::uint32_t pairs, TimeNs link_window_ns) {
  SchedulerSetup setup = one_pair(1);
  setup.pairs.clear();
  setup.accounts.clear();
  setup.channels.clear();
  setup.links.push_back({byte_per_ns});
  setup.config.link_window_ns = link_window_ns;
  for (std::uint32_t p = 0; p < pairs; ++p) {
    setup.pairs.push_back({p, 100 + p, p});
    setup.accounts.push_back({100 + p, 0, Bytes{1} << 60, Bytes{1} << 60, false});
    setup.channels.push_back({p, p, 0, plain_channel(), {0}});
  }
  return setup;
}

/// A node with one GPU per PCIe switch beside one NIC, two hosts, all rates round numbers.
inline NodeSpec rail_node(std::uint32_t gpus) {
  NodeSpec node;
  node.type = "test node";
  node.hosts = {{200e9, 64 * GiB}, {200e9, 64 * GiB}};
  node.socket_bytes_per_s = 20e9;
  for (std::uint32_t i = 0; i < gpus; ++i) {
    const std::uint32_t host = i * 2 / gpus;
    node.pcie_switches.push_back({host, {50e9, 50e9, 0}});
    NodeSpec::Gpu gpu;
    gpu.memory_bytes = GiB;
    gpu.host = host;
    gpu.pcie_switch = i;
    gpu.host_link = {50e9, 50e9, 0};
    gpu.nvlink = PortRates{400e9, 400e9, 0};
    node.gpus.push_back(gpu);
    NodeSpec::Nic nic;
    nic.host = host;
    nic.pcie_switch = i;
    nic.pcie = {50e9, 50e9, 0};
    nic.wire = {40e9, 40e9, 0};
    nic.rail = i;
    node.nics.push_back(nic);
  }
  return node;
}

inline Cluster rail_cluster(std::uint32_t nodes, std::uint32_t gpus) {
  ClusterSpec spec;
  for (std::uint32_t n = 0; n < nodes; ++n) spec.nodes.push_back({rail_node(gpus), 0, false});
  return *build_cluster(spec);
}

}  // namespace kvhaul::test
