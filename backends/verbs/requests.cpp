#include "backends/verbs/requests.h"

#include <algorithm>

namespace kvhaul::verbs {

bool RequestList::add(const ChunkPost& chunk, bool local_is_source, const MemoryKeys& local,
                      const MemoryKeys& remote, const RequestLimits& limits, Cut& cut) {
  const std::span<const Descriptor> pieces = chunk.all();
  const std::size_t first = requests_.size();
  while (cut.piece < pieces.size()) {
    const Descriptor& piece = pieces[cut.piece];
    const Bytes source = piece.source_offset + cut.offset;
    const Bytes target = piece.target_offset + cut.offset;
    const Bytes here = local_is_source ? source : target;
    const Bytes there = local_is_source ? target : source;
    Bytes bytes = std::min({piece.length - cut.offset, local.left_in_slice(here),
                            remote.left_in_slice(there), limits.message_bytes});
    const std::uint64_t remote_address = remote.address + there;
    const std::uint32_t remote_key = remote.key_at(there);

    // A chunk never shares a request with another one.
    ibv_send_wr* request = requests_.size() > first ? &requests_.back() : nullptr;
    const bool goes_on = request != nullptr && request->wr.rdma.rkey == remote_key &&
                         request->wr.rdma.remote_addr + last_bytes_ == remote_address &&
                         request->num_sge < static_cast<int>(limits.pieces_of_request) &&
                         last_bytes_ < limits.message_bytes;
    if (goes_on) {
      bytes = std::min(bytes, limits.message_bytes - last_bytes_);
    } else {
      if (requests_.size() - first >= limits.requests) return false;
      request = &requests_.emplace_back();
      request->opcode = local_is_source ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
      request->wr.rdma = {remote_address, remote_key};
      last_bytes_ = 0;
    }
    pieces_.push_back(
        {local.address + here, static_cast<std::uint32_t>(bytes), local.key_at(here)});
    ++request->num_sge;
    last_bytes_ += bytes;
    cut.offset += bytes;
    if (cut.offset == piece.length) cut = {cut.piece + 1, 0};
  }
  return true;
}

void RequestList::add_probe(bool write) {
  requests_.emplace_back().opcode = write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
  last_bytes_ = 0;
}

void RequestList::link() {
  ibv_sge* piece = pieces_.data();
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    const bool last = i + 1 == requests_.size() || requests_[i].send_flags & IBV_SEND_SIGNALED;
    requests_[i].sg_list = piece;
    requests_[i].next = last ? nullptr : &requests_[i + 1];
    piece += requests_[i].num_sge;
  }
}

}  // namespace kvhaul::verbs
