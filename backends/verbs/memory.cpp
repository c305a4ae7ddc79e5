#include "backends/verbs/memory.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "backends/verbs/wire_text.h"
#include "core/checksum.h"
#include "core/unit_text.h"

namespace kvhaul::verbs {
namespace {

/// With relaxed ordering, which lets writes pass each other on PCIe and is ignored by what does not
/// know it; without where it is refused. `reg(flags)` returns the region or sets errno.
template <class Register>
MemoryRegion with_relaxed_ordering(Access access, Register reg) {
  const int flags = registration_flags(access);
  MemoryRegion region(reg(flags | IBV_ACCESS_RELAXED_ORDERING));
  if (!region && errno != ENOMEM) region.reset(reg(flags));
  return region;
}

void add_slice(Registration& registration, MemoryRegion region) {
  registration.local.keys.push_back(region->lkey);
  registration.remote.keys.push_back(region->rkey);
  registration.regions.push_back(std::move(region));
}

Registration begin_registration(const std::byte* address, Bytes bytes) {
  Registration registration;
  registration.local.address = reinterpret_cast<std::uint64_t>(address);
  registration.local.bytes = bytes;
  registration.local.slice_bytes = slice_bytes;
  registration.remote = registration.local;
  return registration;
}

Error refused(const Port& port, const std::string& call, Bytes bytes) {
  std::string why = std::strerror(errno);
  if (errno == ENOMEM) why += " (ulimit -l says how much may be locked)";
  if (errno == EOPNOTSUPP) why += " (the driver of the NIC does not take it)";
  return Error::missing(call + " of " + bytes_text(bytes) + " on " + port.name.text() + ": " + why);
}

/// By address: host memory, or device memory where its driver makes that possible.
Result<Registration> register_addresses(const Port& port, const Rights& rights, std::byte* memory,
                                        Bytes bytes) {
  Registration registration = begin_registration(memory, bytes);
  for (const Slice& slice : slices_of(bytes)) {
    MemoryRegion region = with_relaxed_ordering(rights.access, [&](int flags) {
      return ibv_reg_mr(rights.domain, memory + slice.offset, slice.bytes, flags);
    });
    if (!region) return refused(port, "ibv_reg_mr", slice.bytes);
    add_slice(registration, std::move(region));
  }
  return registration;
}

Result<Registration> register_dma_buf(const Port& port, const Rights& rights,
                                      DeviceSegment& segment, Bytes bytes) {
  Registration registration = begin_registration(segment.address(), bytes);
  for (const Slice& slice : slices_of(bytes)) {
    auto exported = segment.export_dma_buf(slice.offset, slice.bytes);
    if (!exported) return exported.error();
    // The region holds the memory from here on; the file may be closed.
    MemoryRegion region = with_relaxed_ordering(rights.access, [&](int flags) {
      return ibv_reg_dmabuf_mr(rights.domain, exported->offset, slice.bytes,
                               registration.local.address + slice.offset, exported->file.get(),
                               flags);
    });
    if (!region) return refused(port, "ibv_reg_dmabuf_mr", slice.bytes);
    add_slice(registration, std::move(region));
  }
  return registration;
}

}  // namespace

Result<Registration> register_host(const Port& port, const Rights& rights, std::byte* memory,
                                   Bytes bytes) {
  return register_addresses(port, rights, memory, bytes);
}

Result<Registration> register_device(const Port& port, const Rights& rights, DeviceSegment& segment,
                                     Bytes bytes, const std::string& peer_memory,
                                     const std::string& staged) {
  WaysTried tried{"", peer_memory, staged};
  auto registration = register_dma_buf(port, rights, segment, bytes);
  if (!registration) {
    tried.dma_buf = registration.error().message;
    if (tried.peer_memory.empty()) {
      registration = register_addresses(port, rights, segment.address(), bytes);
      if (!registration) tried.peer_memory = registration.error().message;
    }
  }
  const auto way = choose_way(tried);
  if (!way) return way.error();
  if (way->way == MemoryWay::staged) registration = Registration{};
  registration->way = *way;
  return registration;
}

Result<void> Memory::add(PlaceId place, const std::string& place_name, Bytes bytes,
                         const std::map<MemoryUse, Port*>& uses, DeviceMemorySource* devices) {
  Segment segment;
  segment.place = place;
  segment.bytes = bytes;
  const auto of_place = [&](const Error& error) {
    return Error{error.kind, place_name + ": " + error.message};
  };
  if (devices != nullptr && devices->holds(place)) {
    auto allocated = devices->allocate(place, bytes);
    if (!allocated) return of_place(allocated.error());
    segment.device = std::move(*allocated);
  } else {
    segment.memory = modelled::make_buffer(bytes);
    if (!segment.memory)
      return Error::missing(place_name + ": this machine cannot give " + bytes_text(bytes) +
                            " of host memory; use a scenario with smaller KV pools");
    std::memset(segment.memory.get(), 0, bytes);  // every page is there before anything is measured
  }
  const auto before = std::chrono::steady_clock::now();
  // One port may stand for several NICs.
  std::map<std::pair<ibv_pd*, Access>, std::pair<MemoryKeys, MemoryKeys>> known;
  for (const auto& [use, port] : uses) {
    const auto domain = port->domain_of(use.peer);
    if (!domain) return of_place(domain.error());
    const Rights rights{*domain, use.access};
    const auto [keys, is_new] = known.try_emplace({rights.domain, rights.access});
    if (is_new) {
      auto registered =
          segment.device
              ? register_device(*port, rights, *segment.device, bytes,
                                devices->peer_memory_missing(place),
                                "a smaller piece of its memory could be registered, and the "
                                "channels count on that; a scenario may put rdma_staged first in "
                                "the order of its routes")
              : register_host(*port, rights, segment.memory.get(), bytes);
      if (!registered) return of_place(registered.error());
      keys->second = {std::move(registered->local), std::move(registered->remote)};
      std::move(registered->regions.begin(), registered->regions.end(),
                std::back_inserter(segment.regions));
      registered_bytes_ += bytes;
    }
    if (is_remote(use.access))
      segment.remote.emplace(use, keys->second.second);
    else
      segment.local.emplace(use, keys->second.first);
  }
  registered_in_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(
                           std::chrono::steady_clock::now() - before)
                           .count();
  segments_.push_back(std::move(segment));
  return {};
}

void Memory::add_remote(PlaceId place, Bytes bytes) {
  Segment segment;
  segment.place = place;
  segment.bytes = bytes;
  segments_.push_back(std::move(segment));
}

std::string Memory::export_keys(const std::set<NodeId>& peers) const {
  std::string out;
  for (std::uint32_t s = 0; s < segments_.size(); ++s) {
    if (address(s) == nullptr) continue;
    for (const auto& [use, keys] : segments_[s].remote) {
      if (!peers.contains(use.peer)) continue;
      put(out, s);
      put(out, use.nic);
      put(out, use.peer);
      put(out, use.access);
      put(out, keys.address);
      put(out, keys.bytes);
      put(out, static_cast<std::uint32_t>(keys.keys.size()));
      for (const std::uint32_t key : keys.keys) put(out, key);
    }
  }
  return out;
}

Result<void> Memory::import_keys(std::string_view exported) {
  while (!exported.empty()) {
    std::uint32_t segment = 0, count = 0;
    MemoryUse use;
    MemoryKeys keys;
    keys.slice_bytes = slice_bytes;
    bool whole = take(exported, segment) && take(exported, use.nic) && take(exported, use.peer) &&
                 take(exported, use.access) && take(exported, keys.address) &&
                 take(exported, keys.bytes) && take(exported, count) &&
                 exported.size() / sizeof(std::uint32_t) >= count;
    for (std::uint32_t i = 0; whole && i < count; ++i)
      whole = take(exported, keys.keys.emplace_back());
    if (!whole) return Error::failed("another process's table of segments is cut off");
    if (segment >= segments_.size() || segments_[segment].bytes != keys.bytes ||
        (keys.bytes + slice_bytes - 1) / slice_bytes != count)
      return Error::failed("another process has other segments than this one");
    if (address(segment) != nullptr)
      return Error::failed("another process has told keys of a segment of this one");
    segments_[segment].remote[use] = std::move(keys);
  }
  return {};
}

std::byte* Memory::address(SegmentId segment) const {
  const Segment& found = segments_[segment];
  return found.device ? found.device->address() : found.memory.get();
}

Memory::Segment& Memory::own(SegmentId segment, std::span<const SegmentRange> ranges) {
  for (const SegmentRange& r : ranges)
    check(inside(segment, r.offset, r.length), "payload access outside the segment");
  check(segment < segments_.size() && address(segment) != nullptr,
        "payload access to a segment of another process");
  return segments_[segment];
}

Result<void> Memory::fill(SegmentId id, std::span<const SegmentRange> ranges) {
  Segment& segment = own(id, ranges);
  if (segment.device) return segment.device->fill(ranges);
  for (const SegmentRange& r : ranges) fill_pattern(bytes(segment, r.offset, r.length), r.seed);
  return {};
}

Result<void> Memory::checksum(SegmentId id, std::span<const SegmentRange> ranges,
                              std::span<std::uint64_t> sums) {
  Segment& segment = own(id, ranges);
  if (segment.device) return segment.device->checksum(ranges, sums);
  for (std::size_t i = 0; i < ranges.size(); ++i)
    sums[i] = kvhaul::checksum(bytes(segment, ranges[i].offset, ranges[i].length));
  return {};
}

Result<void> Memory::read(SegmentId id, Bytes offset, std::span<std::byte> into) {
  const SegmentRange range{offset, into.size()};
  Segment& segment = own(id, {&range, 1});
  if (segment.device) return segment.device->read(offset, into);
  const auto from = bytes(segment, offset, into.size());
  std::copy(from.begin(), from.end(), into.begin());
  return {};
}

Result<void> Memory::write(SegmentId id, Bytes offset, std::span<const std::byte> from) {
  const SegmentRange range{offset, from.size()};
  Segment& segment = own(id, {&range, 1});
  if (segment.device) return segment.device->write(offset, from);
  std::copy(from.begin(), from.end(), bytes(segment, offset, from.size()).begin());
  return {};
}

}  // namespace kvhaul::verbs
