// GPUs whose figures are published: how they are called, what they hold, what they compute.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/units.h"

namespace kvhaul {

struct GpuModel {
  std::string_view name;       // as --gpu takes it
  std::string_view nvml_name;  // exactly; other forms of the same chip have other figures
  unsigned pci_device = 0;     // of vendor 10de, as the PCI ID repository lists it
  double memory_gb = 0;        // nominal
  unsigned compute_major = 0, compute_minor = 0;
  unsigned pcie_generation = 0;
  std::string_view timing;  // find_gpu_kind() of it; empty: flops and memory_bytes_per_s
  double flops = 0;         // dense bf16
  double memory_bytes_per_s = 0;
  std::string_view source;  // of these two
};

std::span<const GpuModel> gpu_models();
/// By its name in NVML ("NVIDIA H200"); null: nothing is known of it.
const GpuModel* gpu_model_by_nvml_name(std::string_view name);
const GpuModel* gpu_model_by_pci_device(unsigned device);
const GpuModel* gpu_model_by_name(std::string_view name);

}  // namespace kvhaul
