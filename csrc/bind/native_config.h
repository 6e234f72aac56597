// The configuration of native roles as Python sends it: one dict a role.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bind/fields.h"
#include "engine/image_model.h"
#include "engine/vlm_model.h"
#include "models/grammar.h"

namespace irt {

// One grammar as text (models/grammar.h says what the parts are; an empty `closing` = none).
struct GrammarText {
  std::string name;
  std::string whole;
  std::string closing;
  int reserve = 0;
};

struct BoundVlmConfig {
  VlmConfig config;
  std::vector<std::string> token_bytes;
  std::vector<std::int32_t> special_tokens;
  std::vector<GrammarText> grammars;  // none; one; or one without and one with images

  // With token table and grammars built. Throws Error(kBadPack) for a table that does not fit or a
  // grammar that cannot be compiled, Error(kBackendFailed) where llguidance is not loaded.
  [[nodiscard]] VlmConfig resolved() const;
};

template <>
struct Fields<SessionOptions> {
  using S = SessionOptions;
  static constexpr const char* kName = "session";
  static constexpr std::array kRows = {row<S, &S::intra_op_threads>("intra_op_threads"),
                                       row<S, &S::providers>("providers")};
};
template <>
struct Fields<GrammarText> {
  using S = GrammarText;
  static constexpr const char* kName = "grammar";
  static constexpr std::array kRows = {row<S, &S::name>("name"), row<S, &S::whole>("whole"),
                                       row<S, &S::closing>("closing"),
                                       row<S, &S::reserve>("reserve")};
};
template <>
struct Fields<BoundVlmConfig> {
  using B = BoundVlmConfig;
  using C = VlmConfig;
  using D = DecoderConfig;
  using V = VisionConfig;
  using P = SamplingParams;
  static constexpr auto kConfig = &B::config;
  static constexpr auto kDecoder = &C::decoder_config;
  static constexpr auto kVision = &C::vision_config;
  static constexpr const char* kName = "VlmConfig";
  static constexpr std::array kRows = {
      Field<B>{"family", nullptr,
               [](B& self, nb::handle value) {
                 read_plain(value, self.config.decoder_config.family);
                 self.config.vision_config.family = self.config.decoder_config.family;
               }},
      row<B, kConfig, &C::decoder>("decoder"),
      row<B, kConfig, &C::vision>("vision"),
      row<B, kConfig, kDecoder, &D::layers>("layers"),
      row<B, kConfig, kDecoder, &D::hidden>("hidden"),
      row<B, kConfig, kDecoder, &D::kv_heads>("kv_heads"),
      row<B, kConfig, kDecoder, &D::head_dim>("head_dim"),
      row<B, kConfig, kDecoder, &D::vocab>("vocab"),
      row<B, kConfig, kDecoder, &D::deepstack_levels>("deepstack_levels"),
      row<B, kConfig, kDecoder, &D::image_token_id>("image_token_id"),
      row<B, kConfig, kDecoder, &D::eos_token_ids>("eos_token_ids"),
      row<B, kConfig, kDecoder, &D::cache_length>("cache_length"),
      row<B, kConfig, kDecoder, &D::slots>("slots"),
      row<B, kConfig, kDecoder, &D::prefill_chunk>("prefill_chunk"),
      row<B, kConfig, kDecoder, &D::decode_graph>("decode_graph"),
      row<B, kConfig, kVision, &V::patch_size>("patch_size"),
      row<B, kConfig, kVision, &V::merge_size>("merge_size"),
      row<B, kConfig, kVision, &V::temporal_patch_size>("temporal_patch_size"),
      row<B, kConfig, kVision, &V::mean>("image_mean"),
      row<B, kConfig, kVision, &V::std>("image_std"),
      row<B, kConfig, kVision, &V::min_pixels>("min_pixels"),
      row<B, kConfig, kVision, &V::max_pixels>("max_pixels"),
      row<B, kConfig, &C::max_pixels_many>("max_pixels_many"),
      row<B, kConfig, &C::many>("many"),
      row<B, kConfig, &C::true_tokens>("true_tokens"),
      row<B, kConfig, &C::false_tokens>("false_tokens"),
      row<B, kConfig, &C::verdict_threshold>("verdict_threshold"),
      row<B, kConfig, &C::max_new_tokens>("max_new_tokens"),
      row<B, kConfig, &C::vision_cache>("vision_cache"),
      row<B, kConfig, &C::session>("session"),
      row<B, kConfig, &C::sampling, &P::temperature>("temperature"),
      row<B, kConfig, &C::sampling, &P::top_k>("top_k"),
      row<B, kConfig, &C::sampling, &P::top_p>("top_p"),
      row<B, &B::token_bytes>("token_bytes"),
      row<B, &B::special_tokens>("special_tokens"),
      row<B, &B::grammars>("grammars")};
};
template <>
struct Fields<Part> {
  static constexpr const char* kName = "part";
  static constexpr std::array kRows = {row<Part, &Part::name>("name"),
                                       row<Part, &Part::path>("path")};
};
template <>
struct Fields<ImageModelConfig> {
  using C = ImageModelConfig;
  using G = GeneratorConfig;
  static constexpr auto kFamily = &C::generator;
  static constexpr const char* kName = "GeneratorConfig";
  static constexpr std::array kRows = {
      row<C, kFamily, &G::family>("family"),
      row<C, kFamily, &G::parts>("parts"),
      row<C, kFamily, &G::latent_channels>("latent_channels"),
      row<C, kFamily, &G::text_dim>("text_dim"),
      row<C, kFamily, &G::max_sequence_length>("max_sequence_length"),
      row<C, kFamily, &G::token_pixels>("token_pixels"),
      row<C, kFamily, &G::reference_time>("reference_time"),
      row<C, kFamily, &G::default_width>("default_width"),
      row<C, kFamily, &G::default_height>("default_height"),
      row<C, kFamily, &G::default_steps>("default_steps"),
      row<C, kFamily, &G::max_batch>("max_batch"),
      row<C, &C::slots>("slots"),
      row<C, &C::latent_cache>("latent_cache"),
      row<C, &C::session>("session")};
};

}  // namespace irt
