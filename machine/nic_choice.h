// Which RDMA NICs of a machine are rails for KV.
#pragma once

#include <string>
#include <vector>

#include "machine/machine.h"

namespace kvhaul {

/// An Ethernet port below this is for management, not for KV.
inline constexpr double rail_ethernet_gbits_per_s = 25;

struct NicChoice {
  std::vector<std::size_t> chosen;    // in Machine::nics, in their order
  std::vector<std::string> left_out;  // by NIC: one clause why; empty: it is chosen
  std::vector<std::string> notes;     // what the choice could not look at; one clause each
};

/// NICs of one kind (part, link layer, rate), as a node type has one: of those that can be used,
/// the kind that is the nearest to most GPUs; of equal ones the kind that carries more together. Of
/// it, each that is the nearest to some GPU. A kind that carries less than a quarter of what
/// another does is none to choose. Where nothing is known of places, all of the kind.
///
/// `asked` are names ("mlx5_2", "mlx5_2/1") that are taken and no others, whatever their rate;
/// bad_input where one is not there, is not up, or is of another kind than the first.
Result<NicChoice> choose_nics(const Machine& machine, const std::vector<std::string>& asked = {});

}  // namespace kvhaul
