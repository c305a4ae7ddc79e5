// Chunks cut into work requests: every byte once, nothing across a slice, no message too large.
#include "backends/verbs/requests.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "backends/verbs/status.h"
#include "core/random.h"

namespace kvhaul::verbs {
namespace {

MemoryKeys keys(std::uint64_t address, Bytes bytes, Bytes slice) {
  MemoryKeys made{address, bytes, slice, {}};
  for (Bytes at = 0; at < bytes; at += slice)
    made.keys.push_back(static_cast<std::uint32_t>(1000 + at / slice));
  return made;
}

ChunkPost chunk_of(const std::vector<Descriptor>& pieces) {
  ChunkPost chunk;
  chunk.piece_count = static_cast<std::uint32_t>(pieces.size());
  chunk.piece = pieces[0];
  chunk.pieces = pieces.data();
  for (const Descriptor& piece : pieces) chunk.bytes += piece.length;
  return chunk;
}

TEST(VerbsRequests, PiecesThatFollowEachOtherAtTheFarEndAreOneRequest) {
  const MemoryKeys local = keys(0x10000, 1000, 1000), remote = keys(0x20000, 1000, 1000);
  // Three in a row at the target, one apart.
  const std::vector<Descriptor> pieces = {{500, 0, 10}, {100, 10, 20}, {300, 30, 5}, {0, 90, 7}};
  RequestList list;
  Cut cut;
  ASSERT_TRUE(list.add(chunk_of(pieces), true, local, remote, {10, 16, 1 << 20}, cut));
  list.link();
  ASSERT_EQ(list.size(), 2u);
  const ibv_send_wr* request = &list[0];
  EXPECT_EQ(request->opcode, IBV_WR_RDMA_WRITE);
  EXPECT_EQ(request->num_sge, 3);
  EXPECT_EQ(request->wr.rdma.remote_addr, 0x20000u);
  EXPECT_EQ(request->sg_list[1].addr, 0x10000u + 100);
  EXPECT_EQ(request->sg_list[1].length, 20u);
  request = request->next;
  EXPECT_EQ(request->num_sge, 1);
  EXPECT_EQ(request->wr.rdma.remote_addr, 0x20000u + 90);
  EXPECT_EQ(request->next, nullptr);
}

TEST(VerbsRequests, ReadsGoTheOtherWay) {
  const MemoryKeys local = keys(0x10000, 1000, 1000), remote = keys(0x20000, 1000, 1000);
  const std::vector<Descriptor> pieces = {{500, 40, 10}};
  RequestList list;
  Cut cut;
  ASSERT_TRUE(list.add(chunk_of(pieces), false, local, remote, {10, 16, 1 << 20}, cut));
  list.link();
  const ibv_send_wr* const request = &list[0];
  EXPECT_EQ(request->opcode, IBV_WR_RDMA_READ);
  EXPECT_EQ(request->wr.rdma.remote_addr, 0x20000u + 500);
  EXPECT_EQ(request->sg_list[0].addr, 0x10000u + 40);
}

TEST(VerbsRequests, SixteenWrittenChunksFitIntoAQueue) {
  EXPECT_EQ(longest_write(4 * KiB, 256), 128 * KiB);
  EXPECT_EQ(longest_write(2 * MiB, 256), 128 * KiB);
  EXPECT_EQ(longest_write(2 * MiB + 1, 256), 132 * KiB);
  for (const std::uint32_t depth : {1u, 16u, 100u, 256u})
    for (const Bytes chunk : {1 * MiB, 3 * MiB + 17, 16 * MiB, 100 * MiB}) {
      const Bytes longest = longest_write(chunk, depth);
      EXPECT_LE((chunk + longest - 1) / longest, std::max(1u, depth / 16));
      EXPECT_EQ(longest % (4 * KiB), 0u);
    }
}

TEST(VerbsRequests, OnesUpToACompletionAreTiedTogether) {
  const MemoryKeys local = keys(0x10000, 1000, 1000), remote = keys(0x20000, 1000, 1000);
  const std::vector<Descriptor> pieces = {{0, 0, 8}, {20, 20, 8}, {40, 40, 8}};
  RequestList list;
  Cut cut;
  ASSERT_TRUE(list.add(chunk_of(pieces), true, local, remote, {10, 1, 1 << 20}, cut));
  ASSERT_EQ(list.size(), 3u);
  list[1].send_flags |= IBV_SEND_SIGNALED;
  list.link();
  EXPECT_EQ(list[0].next, &list[1]);
  EXPECT_EQ(list[1].next, nullptr);
  EXPECT_EQ(list[2].next, nullptr);
  EXPECT_EQ(list[2].sg_list->addr, 0x10000u + 40);
}

TEST(VerbsRequests, EveryByteOnceUnderAllLimits) {
  Random random(11);
  for (int round = 0; round < 300; ++round) {
    const Bytes slice = random.between(64, 2000);
    const MemoryKeys local = keys(1 << 20, 10'000, slice), remote = keys(1 << 24, 10'000, slice);
    const RequestLimits limits = {static_cast<std::uint32_t>(random.between(1, 6)),
                                  static_cast<std::uint32_t>(random.between(1, 4)),
                                  random.between(16, 3000)};
    std::vector<Descriptor> pieces;
    for (Bytes at = 0; at < 9000;) {
      const Bytes length = random.between(1, 900);
      pieces.push_back({random.below(9000), at, length});
      at += length + (random.chance(0.5) ? 0 : random.between(1, 50));
    }
    const ChunkPost chunk = chunk_of(pieces);
    std::vector<int> times(10'000, 0);
    std::vector<Bytes> from(10'000, 0);
    Cut cut;
    for (bool whole = false; !whole;) {
      RequestList list;
      whole = list.add(chunk, true, local, remote, limits, cut);
      ASSERT_LE(list.size(), limits.requests);
      ASSERT_FALSE(list.empty());
      list.link();
      for (const ibv_send_wr* request = &list[0]; request != nullptr; request = request->next) {
        ASSERT_LE(request->num_sge, static_cast<int>(limits.pieces_of_request));
        Bytes at = request->wr.rdma.remote_addr - remote.address, bytes = 0;
        EXPECT_EQ(request->wr.rdma.rkey, remote.key_at(at));
        for (int i = 0; i < request->num_sge; ++i) {
          const ibv_sge& piece = request->sg_list[i];
          const Bytes here = piece.addr - local.address;
          EXPECT_EQ(piece.lkey, local.key_at(here));
          EXPECT_EQ(piece.lkey, local.key_at(here + piece.length - 1));
          for (Bytes b = 0; b < piece.length; ++b) {
            ++times[at + b];
            from[at + b] = here + b;
          }
          at += piece.length;
          bytes += piece.length;
        }
        EXPECT_LE(bytes, limits.message_bytes);
        EXPECT_EQ(remote.key_at(at - 1), request->wr.rdma.rkey);
      }
    }
    for (const Descriptor& piece : pieces)
      for (Bytes b = 0; b < piece.length; ++b) {
        EXPECT_EQ(from[piece.target_offset + b], piece.source_offset + b);
        EXPECT_EQ(times[piece.target_offset + b]--, 1);
      }
    EXPECT_EQ(std::count(times.begin(), times.end(), 0), 10'000);
  }
}

TEST(VerbsRequests, WhatAStatusMeans) {
  EXPECT_EQ(outcome_of(IBV_WC_SUCCESS), Outcome::ok);
  EXPECT_EQ(outcome_of(IBV_WC_RETRY_EXC_ERR), Outcome::path_failed);
  EXPECT_EQ(outcome_of(IBV_WC_LOC_QP_OP_ERR), Outcome::path_failed);
  EXPECT_EQ(outcome_of(IBV_WC_WR_FLUSH_ERR), Outcome::cancelled);
  EXPECT_EQ(outcome_of(IBV_WC_REM_ACCESS_ERR), Outcome::invalid);
  EXPECT_EQ(outcome_of(IBV_WC_RNR_RETRY_EXC_ERR), Outcome::retry);
}

}  // namespace
}  // namespace kvhaul::verbs
