// The segments of a run, registered for every use that a channel makes of them (rights.h): host
// memory, or that of a device in the best way that device and NIC have in common (registration.h).
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device_memory.h"
#include "backends/modelled/buffer.h"
#include "backends/verbs/port.h"
#include "backends/verbs/registration.h"
#include "backends/verbs/requests.h"
#include "backends/verbs/rights.h"
#include "core/backend.h"

namespace kvhaul::verbs {

/// Memory as one protection domain knows it.
struct Registration {
  std::vector<MemoryRegion> regions;  // before the memory goes
  MemoryKeys local, remote;
  WayChoice way;
};
Result<Registration> register_host(const Port& port, const Rights& rights, std::byte* memory,
                                   Bytes bytes);
/// Device memory by the best way; where there is none, `missing` says why of each. `peer_memory`
/// and `staged` are why those cannot be, as far as it is known before trying.
Result<Registration> register_device(const Port& port, const Rights& rights, DeviceSegment& segment,
                                     Bytes bytes, const std::string& peer_memory,
                                     const std::string& staged);

class Memory {
 public:
  /// A segment of this process, registered for those uses with the ports of their NICs. `devices`
  /// gives the memory of the places that it holds; null: all are in host memory.
  Result<void> add(PlaceId place, const std::string& place_name, Bytes bytes,
                   const std::map<MemoryUse, Port*>& uses, DeviceMemorySource* devices);
  /// A segment of another process.
  void add_remote(PlaceId place, Bytes bytes);

  /// What the process of those peers needs to reach this one's segments, and nothing else.
  std::string export_keys(const std::set<NodeId>& peers) const;
  /// Takes what another process has exported. What is cut off, does not fit, or is of a segment of
  /// this process is an error.
  Result<void> import_keys(std::string_view exported);

  std::size_t size() const { return segments_.size(); }
  PlaceId place(SegmentId segment) const { return segments_[segment].place; }
  const MemoryKeys& local(SegmentId segment, const MemoryUse& use) const {
    return segments_[segment].local.at(use);
  }
  /// Null: nobody has said how to reach it.
  const MemoryKeys* remote(SegmentId segment, const MemoryUse& use) const {
    const auto found = segments_[segment].remote.find(use);
    return found == segments_[segment].remote.end() ? nullptr : &found->second;
  }
  bool inside(SegmentId segment, Bytes offset, Bytes length) const {
    return segment < segments_.size() && offset <= segments_[segment].bytes &&
           length <= segments_[segment].bytes - offset;
  }
  /// Where a segment of this process begins, as its device or the processor knows it; null: it is
  /// another one's.
  std::byte* address(SegmentId segment) const;

  // Of segments of this process; what lies outside is an error of ours. As in core/backend.h.
  Result<void> fill(SegmentId segment, std::span<const SegmentRange> ranges);
  Result<void> checksum(SegmentId segment, std::span<const SegmentRange> ranges,
                        std::span<std::uint64_t> sums);
  Result<void> read(SegmentId segment, Bytes offset, std::span<std::byte> into);
  Result<void> write(SegmentId segment, Bytes offset, std::span<const std::byte> from);

  /// Counted once for every registration.
  Bytes registered_bytes() const { return registered_bytes_; }
  TimeNs registered_in_ns() const { return registered_in_ns_; }

 private:
  struct Segment {
    PlaceId place = no_id;
    Bytes bytes = 0;
    modelled::Buffer memory;  // one of these two, or another process's
    std::unique_ptr<DeviceSegment> device;
    std::vector<MemoryRegion> regions;  // before the memory goes
    std::map<MemoryUse, MemoryKeys> local, remote;
  };
  /// A part of host memory.
  std::span<std::byte> bytes(const Segment& segment, Bytes offset, Bytes length) const {
    return {segment.memory.get() + offset, length};
  }
  Segment& own(SegmentId segment, std::span<const SegmentRange> ranges);

  std::vector<Segment> segments_;
  Bytes registered_bytes_ = 0;
  TimeNs registered_in_ns_ = 0;
};

}  // namespace kvhaul::verbs
