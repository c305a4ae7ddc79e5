#include "cli/list_links.h"

#include <span>

#include "cli/terminal.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

/// Per direction. Marks: V read in the source named, V2 in a source that quotes it, R recalled and
/// not checked, C computed from V.
struct LinkFact {
  const char* name;
  double theory_gbytes_per_s;
  double achieved_gbytes_per_s;
  double latency_us;  // one way, small
  const char* half;   // half-bandwidth size
  const char* cpu;    // what the CPU has to do with each byte
  const char* source;
};

constexpr LinkFact facts[] = {
    {"PCIe 4.0 x16, pinned", 31.5, 25.7, 8, "250 KB", "posts; its DRAM",
     "CUDA bandwidthTest on DGX A100 V; latency C"},
    {"PCIe 5.0 x16, pinned", 63.0, 55.3, 8, "500 KB", "posts; its DRAM",
     "nvbandwidth on 8 x H800 V; latency as PCIe 4 C"},
    {"PCIe 5.0 x16, pageable", 63.0, 15, 15, "150 KB", "copies", "R, range 10 to 20"},
    {"PCIe 5.0 peer to peer", 63.0, 54.3, 4.1, "220 KB", "posts",
     "p2pmark (lukealonso) V, one pair under one switch"},
    {"NVLink 3 port (A100)", 300, 273, 2.8, "750 KB", "posts",
     "p2pBandwidthLatencyTest on 8 x A100 V"},
    {"NVLink 4 port (H100)", 450, 393, 3.1, "1.2 MB", "posts",
     "nvbandwidth on H200 V; per-block floor nixlbench V"},
    {"NVLink 4 port (H800)", 200, 172, 3.3, "550 KB", "posts",
     "nvbandwidth V; DeepSeek-V3 ISCA'25 V"},
    {"NVLink 5 port (B200)", 900, 770, 3.1, "2.4 MB", "posts",
     "OCI GB200 acceptance C; latency R, as NVLink 4"},
    {"NVLink-C2C (GH200)", 450, 375, 4, "1 MB", "posts; its DRAM",
     "arXiv 2407.07850 V2; latency R"},
    {"NVLink-C2C (GB200)", 225, 211, 4, "800 KB", "posts; its DRAM",
     "OCI GB200 acceptance C; latency R"},
    {"ConnectX-6, 200 Gb/s", 25, 24.5, 2.4, "59 KB", "posts",
     "host write, EPYC 7452 V; latency a read, Zaratan study V; half at C"},
    {"ConnectX-7, 400 Gb/s", 50, 48.9, 6.1, "308 KB", "posts",
     "perftest, nccl issue 2409 V; latency posted to complete C; 500 B in a stream C"},
    {"800 Gb/s NIC", 100, 96, 6.1, "590 KB", "posts", "R; latency as ConnectX-7"},
    {"TCP 400, one stream", 50, 5, 35, "1.5 MB", "copies, 2-3 times",
     "iperf issues V, R; range 2.5 to 7.5"},
    {"host memory, per socket", 307, 230, 0.1, "-", "is the road",
     "8 x DDR5-4800 theory V; 0.75 of it R"},
};

}  // namespace

Json links_json() {
  Json list = Json::array();
  for (const LinkFact& fact : facts) {
    const auto half = parse_bytes(fact.half);
    list.push_back({{"name", fact.name},
                    {"theory_gbytes_per_s", fact.theory_gbytes_per_s},
                    {"achieved_gbytes_per_s", fact.achieved_gbytes_per_s},
                    {"latency_us", fact.latency_us},
                    {"half_bandwidth_bytes", half ? Json(*half) : Json()},
                    {"cpu", fact.cpu},
                    {"source", fact.source}});
  }
  return list;
}

std::string links_table() {
  TextTable table({"link", "theory", "achieved", "", "latency", "half at", "the CPU"});
  for (const LinkFact& fact : facts)
    table.add({fact.name, number_text(fact.theory_gbytes_per_s),
               number_text(fact.achieved_gbytes_per_s),
               number_text(100 * fact.achieved_gbytes_per_s / fact.theory_gbytes_per_s, 2) + "%",
               number_text(fact.latency_us) + " us", fact.half, fact.cpu});
  std::string out = table.text();
  out +=
      "\nGB/s per direction, 1e9 bytes. Half at: pieces of this size, each posted when the\n"
      "one before has landed, reach half the rate; less will do where many are under way. The\n"
      "CPU: posts (and is done), posts and lends its memory, or copies.\nSources (V read there, V2 "
      "quoted, C computed from it, R recalled):\n";
  for (const LinkFact& fact : facts)
    out += "  " + std::string(fact.name) + ": " + fact.source + "\n";
  return out;
}

}  // namespace kvhaul::cli
