// What a pack's manifest says of its native roles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/denoiser.h"
#include "models/sampler.h"
#include "models/vision.h"
#include "tensor/ort.h"
#include "text/token_table.h"

namespace irt {

// An unreadable answer is sampled once more at this temperature, with top-k and top-p off (law 1).
inline constexpr float kRetryTemperature = 0.7F;

struct VlmConfig {
  std::string decoder;  // path of the graph
  std::string vision;   // path of the graph; empty: the model takes no images
  DecoderConfig decoder_config;
  VisionConfig vision_config;
  // A prompt with this many images or more limits each of them to `max_pixels_many`.
  int many = 5;
  std::int64_t max_pixels_many = 384 * 384;
  std::shared_ptr<const TokenTable> tokens;
  std::vector<std::int64_t> true_tokens;  // ids whose text begins a true boolean
  std::vector<std::int64_t> false_tokens;
  // p(success) from which a verdict is true; not 0.5: one of the two gets a bonus when it is drawn.
  double verdict_threshold = 0.5;
  int max_new_tokens = 4096;
  SamplingParams sampling;  // of first answers; the seed comes from the call
  // Of answers: to prompts without images, or to all of them; to prompts with images, where those
  // have another one. Null: answers are not constrained.
  std::shared_ptr<const Grammar> grammar;
  std::shared_ptr<const Grammar> image_grammar;
  std::size_t vision_cache = 64;  // images
  SessionOptions session;
};

struct GeneratorLaneConfig {
  GeneratorConfig generator;
  int slots = 1;
  std::size_t text_cache = 256;   // prompts
  std::size_t latent_cache = 32;  // source images
  SessionOptions session;
};

}  // namespace irt
