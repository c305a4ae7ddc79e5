// libibverbs' objects as owned values.
#pragma once

#include <infiniband/verbs.h>
#include <memory>

namespace kvhaul::verbs {

struct Release {
  void operator()(ibv_context* context) const { ibv_close_device(context); }
  void operator()(ibv_pd* domain) const { ibv_dealloc_pd(domain); }
  void operator()(ibv_comp_channel* channel) const { ibv_destroy_comp_channel(channel); }
  void operator()(ibv_cq* queue) const { ibv_destroy_cq(queue); }
  void operator()(ibv_qp* pair) const { ibv_destroy_qp(pair); }
  void operator()(ibv_mr* region) const { ibv_dereg_mr(region); }
  void operator()(ibv_ah* address) const { ibv_destroy_ah(address); }
};
using Context = std::unique_ptr<ibv_context, Release>;
using ProtectionDomain = std::unique_ptr<ibv_pd, Release>;
using CompletionChannel = std::unique_ptr<ibv_comp_channel, Release>;
using CompletionQueue = std::unique_ptr<ibv_cq, Release>;
using QueuePairHandle = std::unique_ptr<ibv_qp, Release>;
using MemoryRegion = std::unique_ptr<ibv_mr, Release>;
using AddressHandle = std::unique_ptr<ibv_ah, Release>;

}  // namespace kvhaul::verbs
