#include "machine/gpu_models.h"

#include <algorithm>
#include <array>

namespace kvhaul {
namespace {

constexpr std::string_view mle = "V stas00/ml-engineering, accelerators";

constexpr std::array models = {
    GpuModel{"a100-40gb", "NVIDIA A100-SXM4-40GB", 0x20b0, 40, 8, 0, 4, "", 312e12, 1.555e12,
             "R NVIDIA A100 data sheet"},
    GpuModel{"a100-80gb", "NVIDIA A100-SXM4-80GB", 0x20b2, 80, 8, 0, 4, "a100", 0, 0, ""},
    GpuModel{"b200", "NVIDIA B200", 0x2901, 192, 10, 0, 5, "b200", 0, 0, ""},
    GpuModel{"gb200", "NVIDIA GB200", 0x2941, 192, 10, 0, 5, "gb200", 0, 0, ""},
    GpuModel{"gh200-96gb", "NVIDIA GH200 480GB", 0x2342, 96, 9, 0, 5, "gh200", 0, 0, ""},
    GpuModel{"h100", "NVIDIA H100 80GB HBM3", 0x2330, 80, 9, 0, 5, "h100", 0, 0, ""},
    GpuModel{"h100-pcie", "NVIDIA H100 PCIe", 0x2331, 80, 9, 0, 5, "", 756e12, 2e12, mle},
    GpuModel{"h200", "NVIDIA H200", 0x2335, 141, 9, 0, 5, "h200", 0, 0, ""},
    GpuModel{"h800", "NVIDIA H800", 0x2324, 80, 9, 0, 5, "h800", 0, 0, ""},
    GpuModel{"l40s", "NVIDIA L40S", 0x26b9, 48, 8, 9, 4, "", 362e12, 0.86e12, mle},
};

template <class Matches>
const GpuModel* find(Matches matches) {
  const auto found = std::find_if(models.begin(), models.end(), matches);
  return found == models.end() ? nullptr : &*found;
}

}  // namespace

std::span<const GpuModel> gpu_models() { return models; }

const GpuModel* gpu_model_by_nvml_name(std::string_view name) {
  return find([&](const GpuModel& m) { return m.nvml_name == name; });
}
const GpuModel* gpu_model_by_pci_device(unsigned device) {
  return find([&](const GpuModel& m) { return m.pci_device == device; });
}
const GpuModel* gpu_model_by_name(std::string_view name) {
  return find([&](const GpuModel& m) { return m.name == name; });
}

}  // namespace kvhaul
