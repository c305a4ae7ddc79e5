#include "backends/verbs/queue_pair.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kvhaul::verbs {
namespace {

Error failed(const Port& port, const char* what, int code) {
  return Error::missing(port.name.text() + ": " + what + ": " + std::strerror(code));
}

}  // namespace

Result<QueuePair> QueuePair::make(Port& port, const Rights& rights, QueuePairSizes sizes) {
  QueuePair made;
  made.port_ = &port;
  made.access_flags_ = queue_pair_flags(rights.access);
  sizes.requests = std::min(sizes.requests, static_cast<std::uint32_t>(port.device.max_qp_wr));
  sizes.pieces_of_request =
      std::min(sizes.pieces_of_request, static_cast<std::uint32_t>(port.device.max_sge));
  // Devices refuse too many inline bytes instead of granting fewer.
  for (const std::uint32_t inline_bytes : {sizes.inline_bytes, 0u}) {
    ibv_qp_init_attr wanted = {};
    wanted.send_cq = wanted.recv_cq = port.completions.get();
    wanted.qp_type = IBV_QPT_RC;
    wanted.cap = {sizes.requests, 1, sizes.pieces_of_request, 1, inline_bytes};
    made.pair_.reset(ibv_create_qp(rights.domain, &wanted));
    sizes.inline_bytes = inline_bytes;
    if (made.pair_) break;
  }
  if (!made.pair_) return failed(port, "ibv_create_qp", errno);
  made.sizes_ = sizes;
  return made;
}

Result<void> QueuePair::connect(const PairAddress& far, std::uint32_t first_packet,
                                const PathSettings& settings) {
  const Port& port = *port_;
  ibv_qp_attr init = {};
  init.qp_state = IBV_QPS_INIT;
  init.port_num = port.name.port;
  init.qp_access_flags = static_cast<unsigned>(access_flags_);
  if (const int code = ibv_modify_qp(
          pair_.get(), &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
      code != 0)
    return failed(port, "queue pair to INIT", code);

  ibv_qp_attr receive = {};
  receive.qp_state = IBV_QPS_RTR;
  receive.path_mtu = static_cast<ibv_mtu>(std::min(port.address.mtu, far.port.mtu));
  receive.dest_qp_num = far.number;
  receive.rq_psn = far.first_packet;
  receive.max_dest_rd_atomic = port.address.reads;
  receive.min_rnr_timer = 12;  // 0.64 ms
  receive.ah_attr = way_to(port, far.port, settings.service_level, settings.traffic_class);
  if (const int code =
          ibv_modify_qp(pair_.get(), &receive,
                        IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                            IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
      code != 0)
    return failed(port, "queue pair to RTR", code);

  ibv_qp_attr send = {};
  send.qp_state = IBV_QPS_RTS;
  send.timeout = settings.timeout;
  send.retry_cnt = settings.retries;
  send.rnr_retry = 7;
  send.sq_psn = first_packet;
  send.max_rd_atomic = std::min(port.address.reads, far.port.reads);
  if (const int code =
          ibv_modify_qp(pair_.get(), &send,
                        IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                            IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
      code != 0)
    return failed(port, "queue pair to RTS", code);
  return {};
}

Result<void> QueuePair::reset() {
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RESET;
  const int code = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE);
  if (code != 0) return failed(*port_, "queue pair to RESET", code);
  return {};
}

}  // namespace kvhaul::verbs
