// Pictures that make_image_golden.py makes as well; the tiny generator of
// make_graphs.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/key.h"
#include "models/flow.h"
#include "models/ort_fixture.h"
#include "models/pixels.h"
#include "models/qwen3_vl.h"

namespace irt::testing {

inline PixelBuffer picture(std::uint64_t seed, int width, int height) {
  PixelBuffer image{width, height, {}};
  image.data.resize(image.view().bytes());
  for (std::size_t i = 0; i < image.data.size(); ++i) {
    image.data[i] = static_cast<std::uint8_t>(mix64(seed + i / 8) >> (8 * (i % 8)));
  }
  return image;
}

// The bytes of `values`, 3 * width * height of them, hashed like an image (little-endian only).
inline std::uint64_t hash_floats(std::span<const float> values, int width, int height) {
  return hash_pixels({reinterpret_cast<const std::uint8_t*>(values.data()), width, height});
}

inline std::string& part_of(GeneratorConfig& config, const std::string& name) {
  return std::ranges::find(config.parts, name, &Part::name)->path;
}

// For vision.onnx (4) and vision_wide.onnx (the decoder's width).
inline VisionConfig vision_config(int hidden) {
  VisionConfig config;
  config.patch_size = 2;
  config.min_pixels = 64;
  config.max_pixels = 1024;
  config.hidden = hidden;
  config.deepstack_levels = 1;
  return config;
}

inline constexpr int kTextLength = 5;

inline GeneratorConfig small_generator(int max_batch = 4) {
  GeneratorConfig config;
  for (const char* name : {"text_encoder", "transformer", "vae_encoder", "vae_decoder"}) {
    config.parts.push_back({name, graph_path(std::string(name) + ".onnx")});
  }
  config.latent_channels = 48;
  config.text_dim = 6;
  config.max_sequence_length = kTextLength;
  config.token_pixels = 4;
  config.default_width = 12;
  config.default_height = 8;
  config.max_batch = max_batch;
  return config;
}

// A prompt of `words` words.
inline ConditioningRef text_of(Generator& generator, int words, std::size_t length = kTextLength) {
  std::vector<std::int64_t> ids(length, 0);
  std::vector<std::int64_t> mask(length, 0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(words); ++i) {
    ids[i] = static_cast<std::int64_t>(10 + 3 * i) + words;
    mask[i] = 1;
  }
  return generator.encode_text(ids, mask, {});
}

inline void finish(Generator& generator, GeneratorJob& job) {
  GeneratorJob* const jobs[] = {&job};
  while (!job.finished()) generator.step(jobs);
}

}  // namespace irt::testing
