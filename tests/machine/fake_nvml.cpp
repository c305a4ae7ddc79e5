// In place of the driver's libnvidia-ml.so.1: the two GPUs of the box, idle, each with 18 NVLinks
// to a switch, and a third that has fallen off the bus.
#include <cstdio>
#include <cstring>

namespace {

int gpus[2];

int number_of(void* device) { return static_cast<int>(static_cast<int*>(device) - gpus); }

struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

int answer(unsigned* out, unsigned value) {
  *out = value;
  return 0;
}

}  // namespace

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "Other"; }
int nvmlDeviceGetCount_v2(unsigned* count) { return answer(count, 3); }
/// Not in the order of their places.
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index == 2) return 15;
  *device = &gpus[1 - index];
  return 0;
}
int nvmlDeviceGetName(void*, char* name, unsigned bytes) {
  std::snprintf(name, bytes, "NVIDIA H100 \"80GB\" HBM3");
  return 0;
}
int nvmlDeviceGetMemoryInfo(void*, unsigned long long* total_free_used) {
  total_free_used[0] = 80'000ull << 20;
  return 0;
}
int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* pci) {
  std::strcpy(pci->bus_id, number_of(device) == 0 ? "00000000:03:00.0" : "00000000:8A:00.0");
  return 0;
}
int nvmlDeviceGetMaxPcieLinkGeneration(void*, unsigned* out) { return answer(out, 5); }
int nvmlDeviceGetCurrPcieLinkGeneration(void*, unsigned* out) { return answer(out, 1); }
int nvmlDeviceGetMaxPcieLinkWidth(void*, unsigned* out) { return answer(out, 16); }
int nvmlDeviceGetCurrPcieLinkWidth(void*, unsigned* out) { return answer(out, 16); }
int nvmlDeviceGetCudaComputeCapability(void*, int* major, int* minor) {
  *major = 9;
  *minor = 0;
  return 0;
}
int nvmlDeviceGetNvLinkState(void*, unsigned link, unsigned* up) {
  return link < 18 ? answer(up, 1) : 2;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(void*, unsigned, unsigned* type) { return answer(type, 2); }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void*, unsigned, PciInfo* pci) {
  std::strcpy(pci->bus_id, "00000000:C1:00.0");
  return 0;
}
}
