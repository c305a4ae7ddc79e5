// The segments of a run: host memory, registered with every NIC that a channel moves it through.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "backends/modelled/buffer.h"
#include "backends/verbs/port.h"
#include "backends/verbs/requests.h"
#include "core/backend.h"

namespace kvhaul::verbs {

class Memory {
 public:
  /// A region of more than 4 GiB fails on some NICs; the slices leave room below that.
  static constexpr Bytes slice_bytes = 3584 * MiB;

  /// A segment of this process, registered with those ports; by the number of their NIC.
  Result<void> add(PlaceId place, const std::string& place_name, Bytes bytes,
                   const std::map<std::uint32_t, Port*>& nics);
  /// A segment of another process.
  void add_remote(PlaceId place, Bytes bytes);

  /// What another process needs to reach this one's segments.
  std::string export_keys() const;
  /// Takes what a process (this one, too) has exported; what lacks or does not fit is an error.
  Result<void> import_keys(std::string_view exported);

  std::size_t size() const { return segments_.size(); }
  PlaceId place(SegmentId segment) const { return segments_[segment].place; }
  const MemoryKeys& local(SegmentId segment, std::uint32_t nic) const {
    return segments_[segment].local.at(nic);
  }
  /// Null: nobody has said how to reach it.
  const MemoryKeys* remote(SegmentId segment, std::uint32_t nic) const {
    const auto found = segments_[segment].remote.find(nic);
    return found == segments_[segment].remote.end() ? nullptr : &found->second;
  }
  bool inside(SegmentId segment, Bytes offset, Bytes length) const {
    return segment < segments_.size() && offset <= segments_[segment].bytes &&
           length <= segments_[segment].bytes - offset;
  }
  /// Of a segment of this process; what lies outside is an error of ours.
  std::span<std::byte> bytes(SegmentId segment, Bytes offset, Bytes length);

  Bytes registered_bytes() const { return registered_bytes_; }
  TimeNs registered_in_ns() const { return registered_in_ns_; }

 private:
  struct Segment {
    PlaceId place = no_id;
    Bytes bytes = 0;
    modelled::Buffer memory;
    std::vector<MemoryRegion> regions;                  // before the memory goes
    std::map<std::uint32_t, MemoryKeys> local, remote;  // by NIC
  };
  std::vector<Segment> segments_;
  Bytes registered_bytes_ = 0;
  TimeNs registered_in_ns_ = 0;
};

}  // namespace kvhaul::verbs
