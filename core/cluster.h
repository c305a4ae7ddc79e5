// A cluster: nodes, the places in them where bytes can live, and the links between.
//
// A Cluster is a plain value, built once from a ClusterSpec and never changed afterwards. Links are
// directed: a duplex wire is two links, one each way; a medium that both directions share (DRAM) is
// one link that every crossing uses. Names are what users read and write: node0/gpu3,
// node0/host1, node0/nic2/tx.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

enum class PlaceKind { gpu, host };

struct Place {
  std::string name;  // "node0/gpu3", "node0/host1"
  PlaceKind kind = PlaceKind::gpu;
  NodeId node = 0;
  std::uint32_t index = 0;  // among the places of this kind in its node
  Bytes memory_bytes = 0;
};

enum class LinkKind { pcie, c2c, dram, socket, nvlink, nic, fabric };
std::string_view link_kind_name(LinkKind kind);

struct Link {
  std::string name;  // "node0/gpu3/pcie/out"
  LinkKind kind = LinkKind::pcie;
  double bytes_per_s = 0;
  TimeNs latency_ns = 0;
  /// Share of the rate that is left while several GPUs' memory is read into this NVLink port;
  /// writes into it keep the whole. 1: reads lose nothing.
  double read_incast = 1;
};

/// The numbers of one direction-pair of links: out of the device, and into it.
struct PortRates {
  double out_bytes_per_s = 0;
  double in_bytes_per_s = 0;
  TimeNs latency_ns = 0;
  /// What both directions can carry together; 0: as much as each by itself. A GPU's host link only.
  double both_bytes_per_s = 0;
};

/// What a scenario file or a discovery says about one node; the builder turns it into links.
struct NodeSpec {
  struct Host {
    double memory_bytes_per_s = 0;  // what a copy can use of the socket's DRAM, both ways together
    Bytes memory_bytes = 0;
    double memory_write_bytes_per_s = 0;  // what of it writes alone can use; 0: all of it
  };
  struct PcieSwitch {
    std::uint32_t host = 0;  // the NUMA host its uplink ends at
    PortRates uplink;        // out: towards the host
  };
  struct Gpu {
    Bytes memory_bytes = 0;
    std::uint32_t host = 0;                    // its NUMA host
    std::optional<std::uint32_t> pcie_switch;  // none: it hangs off the host directly
    LinkKind host_link_kind = LinkKind::pcie;  // pcie or c2c
    PortRates host_link;                       // out: GPU to host (D2H), in: H2D
    std::optional<PortRates> nvlink;
    double nvlink_read_incast = 1;  // Link::read_incast of its way in
  };
  struct Nic {
    std::uint32_t host = 0;
    std::optional<std::uint32_t> pcie_switch;
    PortRates pcie;  // out: NIC to host
    PortRates wire;  // out: transmit, in: receive
    std::uint32_t rail = 0;
    std::string part;  // what kind of NIC it is, for printing: "connectx-7"; empty: not said
  };

  std::string type;  // the name of this kind of node, for printing: "DGX H100"
  std::vector<Host> hosts;
  std::vector<PcieSwitch> pcie_switches;
  std::vector<Gpu> gpus;
  std::vector<Nic> nics;
  double socket_bytes_per_s = 0;  // between two hosts of the node, each way; 0 with one host
  TimeNs socket_latency_ns = 0;
  bool gpudirect = true;                // NICs may read and write GPU memory
  bool peer_to_peer = true;             // GPUs under one PCIe root may read and write each other
  double registration_bytes_per_s = 0;  // of memory made known to the NICs; 0: takes no time
};

/// How a flow between two leaves gets its links up and down again.
enum class FabricRouting {
  ecmp,      // a seeded hash, drawn once for each queue pair: flows may meet on a link
  modulo,    // D-mod-k: the target NIC's number decides, so flows to one NIC share its way down
  adaptive,  // every packet goes where there is room. Modelled as ideal: a leaf has one link up and
             // one down with the rate of all its uplinks together, and no flow meets another
             // before that is full; what reordering costs is not modelled
};

/// Two tiers at most: leaves, and spines above them. With rails every rail has leaves of its own.
struct FabricSpec {
  bool rails = true;                  // NIC i of every node on the leaf of rail i
  std::uint32_t nodes_per_leaf = 0;   // 0: all nodes on one leaf (per rail)
  std::uint32_t spines = 0;           // 0: leaves are not joined
  std::uint32_t links_per_spine = 1;  // parallel links between one leaf and one spine
  double spine_bytes_per_s = 0;       // of each of those, each way
  TimeNs leaf_latency_ns = 0;         // added by crossing one leaf
  TimeNs spine_latency_ns = 0;        // added by going up and down again
  FabricRouting routing = FabricRouting::ecmp;
};

struct ClusterSpec {
  struct NodeEntry {
    NodeSpec spec;
    std::uint32_t nvlink_domain =
        0;  // nodes of equal number share an NVLink switch; else their own
    bool shares_nvlink = false;
  };
  std::vector<NodeEntry> nodes;
  FabricSpec fabric;
};

struct PcieSwitch {
  std::string name;
  std::uint32_t host = 0;
  LinkId out = no_id, in = no_id;
};

struct Gpu {
  PlaceId place = no_id;
  std::uint32_t host = 0;
  std::optional<std::uint32_t> pcie_switch;
  LinkId host_out = no_id, host_in = no_id;
  LinkId host_both = no_id;                      // crossed either way; no_id: no shared limit
  LinkId nvlink_out = no_id, nvlink_in = no_id;  // no_id: no NVLink
};

struct Nic {
  std::string name;  // "node0/nic2"
  NodeId node = 0;
  std::uint32_t host = 0;
  std::optional<std::uint32_t> pcie_switch;
  LinkId pcie_out = no_id, pcie_in = no_id;
  LinkId tx = no_id, rx = no_id;
  std::string part;  // empty: not said
  std::uint32_t rail = 0;
  std::uint32_t leaf = no_id;
  std::uint32_t number = 0;  // among the NICs of its rail, or among all where rails share leaves
};

struct Node {
  std::string name;  // "node0"
  std::string type;
  std::vector<PlaceId> hosts;
  std::vector<LinkId> dram;                 // by host; all that lands there or leaves crosses it
  std::vector<LinkId> dram_write;           // by host; what lands crosses it, too; no_id: none
  std::vector<std::vector<LinkId>> socket;  // [from host][to host]; no_id on the diagonal
  std::vector<PcieSwitch> pcie_switches;
  std::vector<Gpu> gpus;
  std::vector<std::uint32_t> nics;  // indices into Cluster::nics
  std::uint32_t nvlink_domain = 0;
  bool gpudirect = true;
  bool peer_to_peer = true;
  double registration_bytes_per_s = 0;  // 0: takes no time
};

struct Leaf {
  std::string name;                     // "leaf0-rail3"
  std::vector<std::vector<LinkId>> up;  // [spine][parallel link]; adaptive: [0][0] is all of them
  std::vector<std::vector<LinkId>> down;
};

struct Cluster {
  std::vector<Node> nodes;
  std::vector<Place> places;
  std::vector<Link> links;
  std::vector<Nic> nics;
  std::vector<Leaf> leaves;
  std::uint32_t spines = 0;
  FabricRouting routing = FabricRouting::ecmp;
  TimeNs leaf_latency_ns = 0;
  TimeNs spine_latency_ns = 0;

  /// The place of that name, or nothing.
  std::optional<PlaceId> find_place(std::string_view name) const;
  const Gpu& gpu(PlaceId place) const {
    return nodes[places[place].node].gpus[places[place].index];
  }
};

/// Builds the links and names of a specification. Errors (bad_input) name the node and the part: a
/// host index out of range, a rate that is zero, a GPU without a road to its host.
Result<Cluster> build_cluster(const ClusterSpec& spec);

}  // namespace kvhaul
