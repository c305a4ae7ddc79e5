#include "core/route.h"

#include <algorithm>
#include <array>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using test::rail_cluster;
using test::rail_node;

std::vector<Route> routes(const Cluster& cluster, const char* from, const char* to) {
  return find_routes(cluster, *cluster.find_place(from), *cluster.find_place(to));
}

const Route* find(const std::vector<Route>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Route& r) { return r.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<std::string> hop_names(const Cluster& cluster, const Route& route) {
  std::vector<std::string> names;
  for (const LinkId link : route.hops) names.push_back(cluster.links[link].name);
  return names;
}

TEST(Routes, TheNearestNicComesFirst) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu2", "node1/gpu2");
  EXPECT_EQ(all[0].name, "rdma node0/nic2 node1/nic2");
  EXPECT_EQ(
      hop_names(cluster, all[0]),
      (std::vector<std::string>{"node0/gpu2/pcie/out", "node0/nic2/pcie/in", "node0/nic2/tx",
                                "node1/nic2/rx", "node1/nic2/pcie/out", "node1/gpu2/pcie/in"}));
  // 40 GB/s is the wire, the narrowest of 50, 50, 40, 40, 50, 50.
  EXPECT_DOUBLE_EQ(all[0].bytes_per_s, 40e9);
  EXPECT_EQ(cluster.links[all[0].bottleneck].name, "node0/nic2/tx");
}

TEST(Routes, ANicOfTheOtherSocketIsReachedAcrossTheSocketLink) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* far = find(all, "rdma node0/nic3 node1/nic3");
  ASSERT_NE(far, nullptr);
  EXPECT_TRUE(far->usable);
  EXPECT_DOUBLE_EQ(far->bytes_per_s, 20e9);  // the socket link
  EXPECT_NE(far->reason.find("across the socket link"), std::string::npos);
}

TEST(Routes, RailsWithoutASpineAreListedWithTheReason) {
  const Cluster cluster = rail_cluster(2, 2);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* cross = find(all, "rdma node0/nic0 node1/nic1");
  ASSERT_NE(cross, nullptr);
  EXPECT_FALSE(cross->usable);
  EXPECT_EQ(cross->reason, "leaf0-rail0 and leaf0-rail1 are not joined by a spine");
  // Usable ones stand before the others.
  EXPECT_TRUE(std::is_partitioned(all.begin(), all.end(), [](const Route& r) { return r.usable; }));
}

TEST(Routes, KindsHaveNamesThatAreFoundAgain) {
  const std::vector<std::string> names = {"pcie_staged",       "pcie_p2p", "nvlink_copy",
                                          "nvlink_load_store", "handoff",  "rdma",
                                          "rdma_staged"};
  ASSERT_EQ(names.size(), route_kind_count);
  for (std::size_t k = 0; k < route_kind_count; ++k) {
    EXPECT_EQ(route_kind_name(static_cast<RouteKind>(k)), names[k]);
    EXPECT_EQ(find_route_kind(names[k]), static_cast<RouteKind>(k));
  }
  for (const char* text : {"", "rdm", "rdma ", "RDMA"}) EXPECT_FALSE(find_route_kind(text)) << text;
}

std::vector<std::string> names_of(const std::vector<Route>& all, RouteKind kind) {
  std::vector<std::string> names;
  for (const Route& route : all)
    if (route.kind == kind) names.push_back(route.name);
  return names;
}

// gpu0 has nic0 on its switch (0), nic1 on its host (1), nic2 and nic3 across the socket link (2),
// at both ends. Equally near and fast ones stay in the order of their numbers.
TEST(Routes, StandInTheOrderOfDistanceAndRate) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  for (const std::string kind : {"rdma", "rdma_staged"}) {
    for (std::uint32_t nic = 0; nic < 4; ++nic) {
      const std::string number = std::to_string(nic);
      const Route* route = find(all, kind + " node0/nic" + number + " node1/nic" + number);
      ASSERT_NE(route, nullptr);
      EXPECT_EQ(route->distance, nic == 0 ? 0u : nic == 1 ? 2u : 4u) << route->name;
      EXPECT_EQ(all[(kind == "rdma" ? 0 : 4) + nic].name, route->name);
    }
  }
  // Near at one end only counts in between; a faster one of equal distance comes first.
  ClusterSpec spec;
  for (int n = 0; n < 2; ++n) spec.nodes.push_back({rail_node(4), 0, false});
  spec.fabric.rails = false;
  spec.nodes[1].spec.nics.resize(1);
  spec.nodes[0].spec.nics[2].wire = {10e9, 10e9, 0};
  const Cluster square = *build_cluster(spec);
  const auto mixed = routes(square, "node0/gpu0", "node1/gpu3");
  for (const std::string kind : {"rdma", "rdma_staged"}) {
    const std::vector<std::string> names =
        names_of(mixed, kind == "rdma" ? RouteKind::rdma : RouteKind::rdma_staged);
    EXPECT_EQ(names, (std::vector<std::string>{
                         kind + " node0/nic0 node1/nic0", kind + " node0/nic1 node1/nic0",
                         kind + " node0/nic3 node1/nic0", kind + " node0/nic2 node1/nic0"}));
    EXPECT_EQ(find(mixed, names[0])->distance, 2u);
    EXPECT_EQ(find(mixed, names[1])->distance, 3u);
    EXPECT_EQ(find(mixed, names[3])->distance, 4u);
  }
}

TEST(Routes, EveryHopOfAWayAcrossTheSocketLink) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  using Names = std::vector<std::string>;
  EXPECT_EQ(hop_names(cluster, *find(all, "rdma node0/nic3 node1/nic3")),
            (Names{"node0/gpu0/pcie/out", "node0/pcie-switch0/uplink/out", "node0/socket0-1",
                   "node0/pcie-switch3/uplink/in", "node0/nic3/pcie/in", "node0/nic3/tx",
                   "node1/nic3/rx", "node1/nic3/pcie/out", "node1/pcie-switch3/uplink/out",
                   "node1/socket1-0", "node1/pcie-switch0/uplink/in", "node1/gpu0/pcie/in"}));
  EXPECT_EQ(hop_names(cluster, *find(all, "rdma_staged node0/nic3 node1/nic3")),
            (Names{"node0/gpu0/pcie/out", "node0/pcie-switch0/uplink/out", "node0/socket0-1",
                   "node0/host1/dram", "node0/host1/dram", "node0/pcie-switch3/uplink/in",
                   "node0/nic3/pcie/in", "node0/nic3/tx", "node1/nic3/rx", "node1/nic3/pcie/out",
                   "node1/pcie-switch3/uplink/out", "node1/host1/dram", "node1/host1/dram",
                   "node1/socket1-0", "node1/pcie-switch0/uplink/in", "node1/gpu0/pcie/in"}));
  EXPECT_EQ(find(all, "rdma node0/nic3 node1/nic3")->reason,
            "NICs read and write GPU memory, CPU bypassed; sender's NIC across the socket link, "
            "receiver's across the socket link");
  EXPECT_EQ(find(all, "rdma node0/nic1 node1/nic1")->reason,
            "NICs read and write GPU memory, CPU bypassed; sender's NIC on the same NUMA host, "
            "receiver's on the same NUMA host");
  EXPECT_EQ(all[0].reason,
            "NICs read and write GPU memory, CPU bypassed; sender's NIC under the same PCIe "
            "switch, receiver's under the same PCIe switch");
  // Inside a node: memory of the sender's host, and of the only one that is memory.
  const auto staged = [&](const char* from, const char* to) {
    const auto inside = routes(cluster, from, to);
    const auto found = std::find_if(inside.begin(), inside.end(), [](const Route& route) {
      return route.kind == RouteKind::pcie_staged;
    });
    Names names = hop_names(cluster, *found);
    names.push_back(found->name + ", " + std::to_string(found->stages) + ": " + found->reason);
    return names;
  };
  EXPECT_EQ(staged("node0/gpu0", "node0/gpu3"),
            (Names{"node0/gpu0/pcie/out", "node0/pcie-switch0/uplink/out", "node0/host0/dram",
                   "node0/host0/dram", "node0/socket0-1", "node0/pcie-switch3/uplink/in",
                   "node0/gpu3/pcie/in",
                   "pcie_staged via node0/host0, 2: always works: down to pinned host memory and "
                   "up again"}));
  EXPECT_EQ(staged("node0/gpu0", "node0/host1"),
            (Names{"node0/gpu0/pcie/out", "node0/pcie-switch0/uplink/out", "node0/socket0-1",
                   "node0/host1/dram",
                   "pcie_staged via node0/host1, 1: one DMA between GPU and host memory"}));
  EXPECT_EQ(staged("node0/host1", "node0/gpu0"),
            (Names{"node0/host1/dram", "node0/socket1-0", "node0/pcie-switch0/uplink/in",
                   "node0/gpu0/pcie/in",
                   "pcie_staged via node0/host1, 1: one DMA between GPU and host memory"}));
}

TEST(Routes, PeerToPeerSaysHowFarApartTheGpusAre) {
  ClusterSpec spec;
  spec.nodes = {{rail_node(4), 0, false}};
  spec.nodes[0].spec.gpus[1].pcie_switch = 0;  // beside gpu0
  spec.nodes[0].spec.gpus[2].pcie_switch = std::nullopt;
  spec.nodes[0].spec.gpus[3].pcie_switch = std::nullopt;
  const Cluster cluster = *build_cluster(spec);
  const auto p2p = [](const Cluster& in, const char* from, const char* to) {
    return *find(routes(in, from, to), "pcie_p2p");
  };
  using Names = std::vector<std::string>;
  const Route same_switch = p2p(cluster, "node0/gpu0", "node0/gpu1");
  EXPECT_EQ(hop_names(cluster, same_switch), (Names{"node0/gpu0/pcie/out", "node0/gpu1/pcie/in"}));
  EXPECT_EQ(same_switch.reason, "PCIe peer-to-peer, under the same PCIe switch");
  // Neither has a switch: that is not the same one.
  const Route same_host = p2p(cluster, "node0/gpu2", "node0/gpu3");
  EXPECT_TRUE(same_host.usable);
  EXPECT_EQ(same_host.reason, "PCIe peer-to-peer, on the same NUMA host");
  const Route across = p2p(cluster, "node0/gpu0", "node0/gpu2");
  EXPECT_FALSE(across.usable);
  EXPECT_EQ(across.reason,
            "the GPUs are across the socket link, where drivers stage through host memory");
  spec.nodes[0].spec.peer_to_peer = false;
  const Route refused = p2p(*build_cluster(spec), "node0/gpu0", "node0/gpu1");
  EXPECT_FALSE(refused.usable);
  EXPECT_EQ(refused.reason, "this node does not allow PCIe peer-to-peer");
}

TEST(Routes, SayWhyThereIsNoNvlinkAndNoNic) {
  ClusterSpec spec;
  for (int n = 0; n < 2; ++n) spec.nodes.push_back({rail_node(2), 0, false});
  const auto reason = [&](const char* name) {
    const Cluster cluster = *build_cluster(spec);
    const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
    const Route* route = find(all, name);
    EXPECT_NE(route, nullptr) << name;
    EXPECT_FALSE(route->usable);
    EXPECT_TRUE(route->hops.empty());
    return route->reason;
  };
  EXPECT_EQ(reason("nvlink_copy"), "different NVLink domains");
  spec.nodes[0].spec.gpus[0].nvlink.reset();
  EXPECT_EQ(reason("nvlink_copy"), "no NVLink between them");
  spec.nodes[0].spec.gpus[0].nvlink = spec.nodes[1].spec.gpus[0].nvlink;
  spec.nodes[1].spec.gpus[0].nvlink.reset();
  EXPECT_EQ(reason("nvlink_copy"), "no NVLink between them");
  spec.nodes[1].spec.nics.clear();
  EXPECT_EQ(reason("rdma"), "no NIC in node1");
  spec.nodes[0].spec.nics.clear();
  EXPECT_EQ(reason("rdma"), "no NIC in node0");
}

// Each link and switch of the way adds its own: sums of different powers of two.
TEST(Routes, LatenciesOfAllHopsAddUp) {
  ClusterSpec spec;
  for (int n = 0; n < 2; ++n) {
    spec.nodes.push_back({rail_node(1), 0, false});
    NodeSpec& node = spec.nodes.back().spec;
    const TimeNs unit = n == 0 ? 1 : 16;
    node.gpus[0].host_link.latency_ns = unit;
    node.nics[0].pcie.latency_ns = 2 * unit;
    node.nics[0].wire.latency_ns = 4 * unit;  // of the sender's alone
    node.pcie_switches[0].uplink.latency_ns = 8 * unit;
  }
  spec.fabric = {true, 0, 0, 1, 0, 1000, 0, FabricRouting::ecmp};
  const auto latency = [&](const char* name) {
    const Cluster cluster = *build_cluster(spec);
    const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
    const Route* route = find(all, name);
    EXPECT_NE(route, nullptr) << name;
    return route == nullptr ? 0 : route->latency_ns;
  };
  EXPECT_EQ(latency("rdma node0/nic0 node1/nic0"), 1000 + 1 + 2 + 4 + 16 + 32);
  // Up to the memory and down again at both ends: their switch's uplink twice.
  EXPECT_EQ(latency("rdma_staged node0/nic0 node1/nic0"),
            1000 + 1 + 2 + 4 + 2 * 8 + 16 + 32 + 2 * 128);
  // Two leaves and a spine: a leaf twice, a spine once.
  spec.fabric = {true, 1, 1, 1, 50e9, 1000, 10'000, FabricRouting::ecmp};
  EXPECT_EQ(latency("rdma node0/nic0 node1/nic0 via spine0/0"),
            2 * 1000 + 10'000 + 1 + 2 + 4 + 16 + 32);
}

/// Two nodes of one rail; which of them have GPUDirect.
Cluster gpudirect_in(bool node0, bool node1) {
  ClusterSpec spec;
  for (const bool has : {node0, node1}) {
    spec.nodes.push_back({rail_node(1), 0, false});
    spec.nodes.back().spec.gpudirect = has;
  }
  return *build_cluster(spec);
}

TEST(Routes, WithoutGpuDirectOnlyTheStagedOneIsUsable) {
  for (const auto& [node0, node1, reason] :
       {std::tuple(true, false, "no GPUDirect RDMA in node1"),
        std::tuple(false, true, "no GPUDirect RDMA in node0"),
        std::tuple(false, false, "no GPUDirect RDMA in node0 and node1")}) {
    const auto all = routes(gpudirect_in(node0, node1), "node0/gpu0", "node1/gpu0");
    EXPECT_EQ(all[0].kind, RouteKind::rdma_staged);
    const Route* direct = find(all, "rdma node0/nic0 node1/nic0");
    ASSERT_NE(direct, nullptr);
    EXPECT_FALSE(direct->usable);
    EXPECT_EQ(direct->reason, reason);
  }
}

// A side without GPUDirect is staged, and no other: its memory is crossed in and out, and each
// staged end is a store-and-forward stage beside the wire.
TEST(Routes, AnEndIsStagedWhereItHasToBe) {
  struct Case {
    const char* from;
    const char* to;
    bool node0, node1;             // GPUDirect
    bool at_source, at_target;     // staged
    int source_dram, target_dram;  // crossings of host memory
    const char* reason;
  };
  for (const Case& c : {
           Case{"node0/gpu0", "node1/gpu0", true, false, false, true, 0, 2,
                "bounced through host memory at the receiver, node1; the sender's NIC reads GPU "
                "memory directly"},
           Case{"node0/gpu0", "node1/gpu0", false, true, true, false, 2, 0,
                "bounced through host memory at the sender, node0; the receiver's NIC writes GPU "
                "memory directly"},
           Case{"node0/gpu0", "node1/gpu0", false, false, true, true, 2, 2,
                "bounced through host memory at both ends"},
           // Both could do without: the road beside the direct one.
           Case{"node0/gpu0", "node1/gpu0", true, true, true, true, 2, 2,
                "bounced through host memory at both ends"},
           // Host memory needs no staging, whatever its node has.
           Case{"node0/gpu0", "node1/host0", false, false, true, false, 2, 1,
                "bounced through host memory at the sender, node0; the receiver's NIC writes host "
                "memory directly"},
           Case{"node0/host0", "node1/gpu0", false, false, false, true, 1, 2,
                "bounced through host memory at the receiver, node1; the sender's NIC reads host "
                "memory directly"},
       }) {
    const Cluster cluster = gpudirect_in(c.node0, c.node1);
    const auto all = routes(cluster, c.from, c.to);
    const Route* staged = find(all, "rdma_staged node0/nic0 node1/nic0");
    ASSERT_NE(staged, nullptr) << c.reason;
    EXPECT_TRUE(staged->usable);
    EXPECT_EQ(staged->staged_source, c.at_source) << c.reason;
    EXPECT_EQ(staged->staged_target, c.at_target) << c.reason;
    EXPECT_EQ(staged->stages, 1u + c.at_source + c.at_target);
    EXPECT_EQ(staged->reason, c.reason);
    const auto names = hop_names(cluster, *staged);
    EXPECT_EQ(std::count(names.begin(), names.end(), "node0/host0/dram"), c.source_dram);
    EXPECT_EQ(std::count(names.begin(), names.end(), "node1/host0/dram"), c.target_dram);
    EXPECT_FALSE(all[0].kind == RouteKind::rdma && (all[0].staged_source || all[0].staged_target));
  }
  // Memory to memory never is.
  const auto hosts = routes(gpudirect_in(false, false), "node0/host0", "node1/host0");
  ASSERT_EQ(hosts.size(), 1u);
  EXPECT_EQ(hosts[0].kind, RouteKind::rdma);
  EXPECT_TRUE(hosts[0].usable);
}

TEST(Routes, StagedCopiesCrossDramTwiceASide) {
  const Cluster cluster = rail_cluster(2, 2);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* staged = find(all, "rdma_staged node0/nic0 node1/nic0");
  ASSERT_NE(staged, nullptr);
  const auto names = hop_names(cluster, *staged);
  EXPECT_EQ(std::count(names.begin(), names.end(), "node0/host0/dram"), 2);
  EXPECT_EQ(std::count(names.begin(), names.end(), "node1/host0/dram"), 2);
}

TEST(Routes, ALimitOfBothDirectionsIsCrossedEitherWay) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  spec.nodes.push_back({rail_node(2), 0, false});
  spec.nodes[0].spec.gpus[0].host_link.both_bytes_per_s = 80e9;
  const Cluster cluster = *build_cluster(spec);
  const auto crossings = [&](const char* from, const char* to, const std::string& name) {
    const auto all = routes(cluster, from, to);
    const auto names = hop_names(cluster, *find(all, name));
    return std::count(names.begin(), names.end(), "node0/gpu0/pcie/both");
  };
  EXPECT_EQ(crossings("node0/gpu0", "node0/host0", "pcie_staged via node0/host0"), 1);
  EXPECT_EQ(crossings("node0/host0", "node0/gpu0", "pcie_staged via node0/host0"), 1);
  EXPECT_EQ(crossings("node0/gpu0", "node0/gpu0", "pcie_staged via node0/host0"), 2);
  EXPECT_EQ(crossings("node0/gpu0", "node1/gpu0", "rdma node0/nic0 node1/nic0"), 1);
  EXPECT_EQ(crossings("node1/gpu0", "node0/gpu0", "rdma node1/nic0 node0/nic0"), 1);
  EXPECT_EQ(crossings("node0/gpu1", "node0/gpu0", "pcie_p2p"), 1);
  // 80 / 2, the narrowest of 50 out, 80 both, switch uplinks of 50 and memory of 200.
  const auto self = routes(cluster, "node0/gpu0", "node0/gpu0");
  EXPECT_DOUBLE_EQ(find(self, "pcie_staged via node0/host0")->bytes_per_s, 40e9);
}

TEST(Routes, ALinkCrossedTwiceCountsTwice) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  for (auto& host : spec.nodes[0].spec.hosts) host.memory_bytes_per_s = 60e9;
  const Cluster cluster = *build_cluster(spec);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu1");
  const auto staged = std::find_if(all.begin(), all.end(),
                                   [](const Route& r) { return r.kind == RouteKind::pcie_staged; });
  ASSERT_NE(staged, all.end());
  // DRAM of 60 GB/s written and read: 30; PCIe 50; socket link 20 is the narrowest here.
  EXPECT_DOUBLE_EQ(staged->bytes_per_s, 20e9);
  const auto host = routes(cluster, "node0/gpu0", "node0/host0");
  ASSERT_FALSE(host.empty());
  EXPECT_DOUBLE_EQ(host[0].bytes_per_s, 50e9);  // one crossing of DRAM only
}

TEST(Routes, InsideANodeNvlinkIsFirst) {
  const Cluster cluster = rail_cluster(1, 4);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu1");
  EXPECT_EQ(all[0].kind, RouteKind::nvlink_copy);
  EXPECT_EQ(all[1].kind, RouteKind::nvlink_load_store);
  EXPECT_EQ(all[2].kind, RouteKind::pcie_p2p);
  EXPECT_EQ(all[3].kind, RouteKind::pcie_staged);
  EXPECT_EQ(all[4].kind, RouteKind::handoff);
  EXPECT_FALSE(all[4].usable);
  using Names = std::vector<std::string>;
  for (const std::size_t nvlink : {0, 1})
    EXPECT_EQ(hop_names(cluster, all[nvlink]),
              (Names{"node0/gpu0/nvlink/out", "node0/gpu1/nvlink/in"}));
  EXPECT_EQ(all[0].reason, "one NVLink domain; copy engines move it, no SM and no CPU in the way");
  EXPECT_EQ(all[1].reason, "one NVLink domain; costs SMs, saves the copy engine's cost per piece");
  EXPECT_EQ(all[4].reason,
            "the decoder would have to read every step over NVLink; it reads its own copy");
  const auto across = routes(cluster, "node0/gpu0", "node0/gpu3");
  const auto p2p = std::find_if(across.begin(), across.end(),
                                [](const Route& r) { return r.kind == RouteKind::pcie_p2p; });
  EXPECT_FALSE(p2p->usable);
}

TEST(Routes, OnePlaceHandsOver) {
  const Cluster cluster = rail_cluster(1, 2);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu0");
  ASSERT_EQ(all.size(), 2u);  // the other is through host memory
  EXPECT_EQ(all[0].kind, RouteKind::handoff);
  EXPECT_TRUE(all[0].hops.empty());
  EXPECT_EQ(all[0].reason, "prefill and decode share this memory: only the block table moves");
  EXPECT_EQ(all[1].kind, RouteKind::pcie_staged);
}

TEST(Routes, GpusHandOverToADecoderThatReadsInPlace) {
  const Cluster cluster = rail_cluster(1, 2);
  const auto all = find_routes(cluster, *cluster.find_place("node0/gpu0"),
                               *cluster.find_place("node0/gpu1"), {.read_in_place = true});
  EXPECT_EQ(all[0].kind, RouteKind::handoff);
  EXPECT_TRUE(all[0].usable);
  EXPECT_TRUE(all[0].hops.empty());
  EXPECT_EQ(all[0].reason, "only the block table moves; the decoder reads every step over NVLink");
  EXPECT_EQ(all[1].kind, RouteKind::nvlink_copy);
}

TEST(Routes, ASharedNvlinkDomainJoinsNodes) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 3, true});
  spec.nodes.push_back({rail_node(1), 3, true});
  spec.nodes.push_back({rail_node(1), 4, true});
  const Cluster cluster = *build_cluster(spec);
  EXPECT_EQ(routes(cluster, "node0/gpu0", "node1/gpu0")[0].kind, RouteKind::nvlink_copy);
  EXPECT_EQ(routes(cluster, "node0/gpu0", "node2/gpu0")[0].kind, RouteKind::rdma);
}

TEST(Routes, EcmpPicksOneSpineForAPairOfNicsAndKeepsIt) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(1), 0, false});
  spec.fabric = {true, 2, 4, 2, 50e9, 0, 100};
  const Cluster cluster = *build_cluster(spec);
  const PlaceId a = *cluster.find_place("node0/gpu0"), b = *cluster.find_place("node2/gpu0");
  const auto first = find_routes(cluster, a, b, {1});
  EXPECT_EQ(first[0].hops, find_routes(cluster, a, b, {1})[0].hops);
  EXPECT_EQ(first[0].hops.size(), 8u);
  EXPECT_EQ(first[0].latency_ns, 100);
  bool differs = false;
  for (std::uint64_t seed = 2; seed < 20; ++seed)
    differs = differs || find_routes(cluster, a, b, {seed})[0].hops != first[0].hops;
  EXPECT_TRUE(differs);
}

// Decisions depend on it, so a seed's draws are the same everywhere and in every version. The link
// down is drawn by itself: flows that go up together may part.
TEST(Routes, EcmpDrawsTheSameEverywhere) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(1), 0, false});
  spec.fabric = {true, 2, 5, 4, 50e9, 0, 100, FabricRouting::ecmp};
  const Cluster cluster = *build_cluster(spec);
  struct Case {
    const char* from;
    const char* to;
    std::uint64_t seed;
    std::uint32_t flow;
    const char* up;
    const char* down;
  };
  for (const Case& c : {
           Case{"node0/gpu0", "node2/gpu0", 7, 0, "spine3/0/up", "spine3/0/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 1, "spine3/2/up", "spine3/3/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 2, "spine1/1/up", "spine1/3/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 3, "spine2/2/up", "spine2/1/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 4, "spine0/0/up", "spine0/2/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 5, "spine2/2/up", "spine2/0/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 6, "spine3/3/up", "spine3/3/down"},
           Case{"node0/gpu0", "node2/gpu0", 7, 7, "spine4/3/up", "spine4/0/down"},
           Case{"node0/gpu0", "node2/gpu0", 8, 0, "spine3/2/up", "spine3/2/down"},
           Case{"node0/gpu0", "node3/gpu0", 7, 0, "spine2/3/up", "spine2/1/down"},
           Case{"node1/gpu0", "node2/gpu0", 7, 0, "spine4/3/up", "spine4/1/down"},
       }) {
    const Route route = find_routes(cluster, *cluster.find_place(c.from), *cluster.find_place(c.to),
                                    {c.seed, c.flow})[0];
    const auto names = hop_names(cluster, route);
    EXPECT_EQ(std::count(names.begin(), names.end(), std::string("leaf0-rail0/") + c.up), 1)
        << c.from << ' ' << c.to << ' ' << c.seed << ' ' << c.flow << ' ' << route.name;
    EXPECT_EQ(std::count(names.begin(), names.end(), std::string("leaf1-rail0/") + c.down), 1)
        << c.from << ' ' << c.to << ' ' << c.seed << ' ' << c.flow;
  }
}

/// Two leaves of two nodes, four spines, two links to each.
Cluster two_leaves(FabricRouting routing) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(1), 0, false});
  spec.fabric = {true, 2, 4, 2, 50e9, 0, 100, routing};
  return *build_cluster(spec);
}

std::vector<std::string> fabric_hops(const Cluster& cluster, const Route& route) {
  std::vector<std::string> names;
  for (const LinkId link : route.hops)
    if (cluster.links[link].kind == LinkKind::fabric) names.push_back(cluster.links[link].name);
  return names;
}

// 64 draws of a flow among 4 spines: each is expected 16 times, and to miss one has a chance of
// 4 x 0.75^64, 4e-8. The name of a route tells its spine.
TEST(Routes, EcmpDrawsAnewForEveryFlowAndSaysWhichSpine) {
  const Cluster cluster = two_leaves(FabricRouting::ecmp);
  const PlaceId a = *cluster.find_place("node0/gpu0"), b = *cluster.find_place("node2/gpu0");
  EXPECT_EQ(find_routes(cluster, a, b, {7, 0})[0].hops, find_routes(cluster, a, b, {7})[0].hops);
  std::array<int, 4> drawn = {};
  for (std::uint32_t flow = 0; flow < 64; ++flow) {
    const Route route = find_routes(cluster, a, b, {7, flow})[0];
    const std::vector<std::string> hops = fabric_hops(cluster, route);
    ASSERT_EQ(hops.size(), 2u);
    const std::size_t spine = hops[0].find("spine");
    ++drawn[static_cast<std::size_t>(hops[0][spine + 5] - '0')];
    EXPECT_EQ(route.name, "rdma node0/nic0 node2/nic0 via " +
                              hops[0].substr(spine, hops[0].find("/up") - spine));
    EXPECT_EQ(hops[1].substr(hops[1].find("spine"), 6), hops[0].substr(spine, 6));
  }
  for (const int times : drawn) EXPECT_GT(times, 0);
}

// 4 spines x 2 links = 8 uplinks. node2/nic0 is number 2 of its rail: link 2, so spine 1, link 0;
// node3/nic0 number 3: spine 1, link 1. Whoever sends, and whatever the seed.
TEST(Routes, StaticRoutingGoesByTheNumberOfTheTarget) {
  const Cluster cluster = two_leaves(FabricRouting::modulo);
  const auto hops = [&](const char* from, const char* to, std::uint64_t seed) {
    return fabric_hops(cluster, find_routes(cluster, *cluster.find_place(from),
                                            *cluster.find_place(to), {seed, 3})[0]);
  };
  for (const std::uint64_t seed : {1, 2, 3}) {
    EXPECT_EQ(hops("node0/gpu0", "node2/gpu0", seed),
              (std::vector<std::string>{"leaf0-rail0/spine1/0/up", "leaf1-rail0/spine1/0/down"}));
    EXPECT_EQ(hops("node1/gpu0", "node2/gpu0", seed), hops("node0/gpu0", "node2/gpu0", seed));
    EXPECT_EQ(hops("node0/gpu0", "node3/gpu0", seed),
              (std::vector<std::string>{"leaf0-rail0/spine1/1/up", "leaf1-rail0/spine1/1/down"}));
  }
}

TEST(Routes, AdaptiveRoutingTakesAllUplinksTogether) {
  const Cluster cluster = two_leaves(FabricRouting::adaptive);
  const Route route = routes(cluster, "node0/gpu0", "node2/gpu0")[0];
  EXPECT_EQ(fabric_hops(cluster, route),
            (std::vector<std::string>{"leaf0-rail0/up", "leaf1-rail0/down"}));
  EXPECT_EQ(route.name, "rdma node0/nic0 node2/nic0");
  EXPECT_EQ(route.latency_ns, 100);
}

/// rail_node() whose memory takes writes at 30 GB/s, of 200 both ways.
Cluster slow_writes(std::uint32_t nodes) {
  ClusterSpec spec;
  for (std::uint32_t n = 0; n < nodes; ++n) {
    spec.nodes.push_back({rail_node(1), 0, false});
    for (auto& host : spec.nodes[n].spec.hosts) host.memory_write_bytes_per_s = 30e9;
  }
  return *build_cluster(spec);
}

// GPU to host lands in memory: 30 GB/s. Host to GPU reads it: 50, the PCIe port.
TEST(Routes, OnlyWhatLandsInHostMemoryCrossesItsWriteSide) {
  const Cluster cluster = slow_writes(2);
  const Route down = routes(cluster, "node0/gpu0", "node0/host0")[0];
  EXPECT_DOUBLE_EQ(down.bytes_per_s, 30e9);
  EXPECT_EQ(cluster.links[down.bottleneck].name, "node0/host0/dram/write");
  EXPECT_DOUBLE_EQ(routes(cluster, "node0/host0", "node0/gpu0")[0].bytes_per_s, 50e9);
  const auto crossings = [&](const Route& route, const char* link) {
    const auto names = hop_names(cluster, route);
    return std::count(names.begin(), names.end(), link);
  };
  // Over the wire into the other host's memory, and read from it.
  const Route there = routes(cluster, "node0/host0", "node1/host0")[0];
  EXPECT_EQ(crossings(there, "node0/host0/dram/write"), 0);
  EXPECT_EQ(crossings(there, "node1/host0/dram/write"), 1);
  // Bounced at both ends: written once and crossed twice at each.
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* staged = find(all, "rdma_staged node0/nic0 node1/nic0");
  ASSERT_NE(staged, nullptr);
  for (const char* host : {"node0/host0/dram", "node1/host0/dram"}) {
    EXPECT_EQ(crossings(*staged, host), 2);
    EXPECT_EQ(crossings(*staged, (std::string(host) + "/write").c_str()), 1);
  }
  EXPECT_DOUBLE_EQ(staged->bytes_per_s, 30e9);
}

TEST(UnloadedTime, FollowsTheFormula) {
  const Cluster cluster = rail_cluster(2, 1);
  const Route rdma = routes(cluster, "node0/gpu0", "node1/gpu0")[0];
  RouteCosts costs;
  costs.fixed_ns = 1200;
  costs.post_ns = 200;
  costs.half_bandwidth_bytes = 40'000;
  // 1200 + 200 + (4,000,000 + 40,000) B / 40 B/ns = 1400 + 101,000
  EXPECT_NEAR(static_cast<double>(unloaded_ns(rdma, costs, 4'000'000)), 102'400, 1);
  // Each stage of a route sends all of it again; latencies count once.
  Route staged = rdma;
  staged.stages = 3;
  staged.latency_ns = 50'000;
  EXPECT_EQ(unloaded_ns(staged, costs, 4'000'000),
            50'000 + 1400 + 3 * (unloaded_ns(rdma, costs, 4'000'000) - 1400));
  // What crosses no link takes no time for its bytes.
  const Route handoff = routes(cluster, "node0/gpu0", "node0/gpu0")[0];
  EXPECT_EQ(unloaded_ns(handoff, costs, 4'000'000), 1400);
}

TEST(GatherCosts, FollowTheirFormulas) {
  GatherCosts costs;
  EXPECT_EQ(costs.charged_bytes(5000, 3), 5000u);
  EXPECT_EQ(costs.posting_ns(3), 0);
  costs.extra_permille = 250;
  costs.half_bandwidth_bytes = 70;
  costs.piece_half_bandwidth_bytes = 8;
  costs.post_ns = 900;
  costs.piece_post_ns = 11;
  EXPECT_EQ(costs.charged_bytes(5000, 3), 5000u + 1250 + 70 + 3 * 8);
  EXPECT_EQ(costs.posting_ns(3), 900 + 3 * 11);
}

TEST(ChannelPlan, FallbacksGetTheNextTier) {
  const Cluster cluster = rail_cluster(2, 2);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->requests.size(), 4u);  // two rails direct, two rails staged
  EXPECT_EQ(plan->tiers, (std::vector<std::uint32_t>{0, 0, 1, 1}));
  EXPECT_EQ(plan->requests[0].owner, 0u);
}

TEST(ChannelPlan, EveryQueueDrawsAPathOfItsOwnUnderEcmp) {
  const auto plan_of = [](const Cluster& cluster, std::uint32_t queues) {
    RoutePlan plan;
    plan.order = {RouteKind::rdma};
    plan.costs[static_cast<std::size_t>(RouteKind::rdma)].queues = queues;
    const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
        {*cluster.find_place("node0/gpu0"), *cluster.find_place("node2/gpu0")}};
    return *plan_channels(cluster, pairs, plan);
  };
  const Cluster hashed = two_leaves(FabricRouting::ecmp);
  const ChannelPlan many = plan_of(hashed, 32);
  ASSERT_EQ(many.requests.size(), 32u);
  EXPECT_EQ(many.requests[0].route.hops, plan_of(hashed, 1).requests[0].route.hops);
  const PlaceId a = many.requests[0].route.source, b = many.requests[0].route.target;
  for (std::uint32_t q = 0; q < 32; ++q)
    EXPECT_EQ(many.requests[q].route.hops, find_routes(hashed, a, b, {0, q})[0].hops) << q;
  // What does not hash does not differ.
  for (const FabricRouting routing : {FabricRouting::modulo, FabricRouting::adaptive}) {
    const ChannelPlan same = plan_of(two_leaves(routing), 3);
    EXPECT_EQ(same.requests[0].route.hops, same.requests[2].route.hops);
  }
}

TEST(ChannelPlan, SaysWhatIsWrongWhenNothingIsUsable) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes[0].spec.nics.clear();
  const Cluster cluster = *build_cluster(spec);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("no NIC in node0"), std::string::npos)
      << plan.error().message;
}

}  // namespace
}  // namespace kvhaul
