#include "backends/verbs/datagrams.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kvhaul::verbs {
namespace {

Error failed(const Port& port, const char* what, int code) {
  return Error::missing(port.name.text() + ": datagrams: " + what + ": " + std::strerror(code));
}

}  // namespace

Result<Datagrams> Datagrams::make(Port& port, std::uint32_t key, std::uint8_t tag) {
  Datagrams made;
  made.port_ = &port;
  made.key_ = key;
  made.tag_ = tag;
  made.frame_bytes_ = mtu_bytes(port.address.mtu);
  made.memory_.resize(std::size_t{sends + receives} * (route_header_bytes + made.frame_bytes_));
  made.region_.reset(ibv_reg_mr(port.domain.get(), made.memory_.data(), made.memory_.size(),
                                IBV_ACCESS_LOCAL_WRITE));
  if (!made.region_) return failed(port, "ibv_reg_mr", errno);
  ibv_qp_init_attr wanted = {};
  wanted.send_cq = wanted.recv_cq = port.completions.get();
  wanted.qp_type = IBV_QPT_UD;
  wanted.sq_sig_all = 1;
  wanted.cap = {sends, receives, 1, 1, 0};
  made.pair_.reset(ibv_create_qp(port.domain.get(), &wanted));
  if (!made.pair_) return failed(port, "ibv_create_qp", errno);
  if (auto alive = made.revive(); !alive) return alive.error();
  return made;
}

Result<void> Datagrams::revive() {
  ++generation_;
  broken_ = true;  // until all of this has gone well
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RESET;
  if (const int code = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE); code != 0)
    return failed(*port_, "to RESET", code);
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = port_->name.port;
  attributes.qkey = key_;
  if (const int code = ibv_modify_qp(pair_.get(), &attributes,
                                     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);
      code != 0)
    return failed(*port_, "to INIT", code);
  bool receives_posted = true;
  for (std::uint32_t number = sends; number < sends + receives; ++number)
    receives_posted = receive_into(number) && receives_posted;
  attributes.qp_state = IBV_QPS_RTR;
  if (const int code = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE); code != 0)
    return failed(*port_, "to RTR", code);
  attributes.qp_state = IBV_QPS_RTS;
  if (const int code = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE | IBV_QP_SQ_PSN);
      code != 0)
    return failed(*port_, "to RTS", code);
  free_.clear();
  for (std::uint32_t number = sends; number-- > 0;) free_.push_back(number);
  broken_ = !receives_posted;
  return {};
}

bool Datagrams::receive_into(std::uint32_t number) {
  ibv_sge piece = {reinterpret_cast<std::uint64_t>(buffer(number)),
                   route_header_bytes + frame_bytes_, region_->lkey};
  ibv_recv_wr request = {};
  request.wr_id = id(number);
  request.sg_list = &piece;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  if (ibv_post_recv(pair_.get(), &request, &bad) == 0) return true;
  broken_ = true;
  return false;
}

bool Datagrams::send(ibv_ah* way, std::uint32_t far_number, std::string_view frame) {
  if (broken_ || free_.empty() || frame.size() > frame_bytes_) return false;
  const std::uint32_t number = free_.back();
  std::memcpy(buffer(number), frame.data(), frame.size());
  ibv_sge piece = {reinterpret_cast<std::uint64_t>(buffer(number)),
                   static_cast<std::uint32_t>(frame.size()), region_->lkey};
  ibv_send_wr request = {};
  request.wr_id = id(number);
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = IBV_WR_SEND;
  request.wr.ud = {way, far_number, key_};
  ibv_send_wr* bad = nullptr;
  if (ibv_post_send(pair_.get(), &request, &bad) != 0) return false;
  free_.pop_back();
  return true;
}

}  // namespace kvhaul::verbs
