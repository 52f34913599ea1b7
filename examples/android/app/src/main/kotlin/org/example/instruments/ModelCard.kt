package org.example.instruments

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.roundToInt
import org.json.JSONArray
import org.json.JSONObject

/** Probabilities by level and class. */
typealias Answer = Map<String, Map<String, Float>>

/**
 * What a .tflite file exported by hmic_keras says of itself.
 *
 * @param file the bytes of the file: `assets.open("model.tflite").use { it.readBytes() }`
 */
class ModelCard(file: ByteArray) {
    private val manifest = JSONObject(String(storedEntry(file, "manifest.json"), Charsets.UTF_8))

    /** Levels of the hierarchy, finest first: the names of the model's outputs. */
    val levels: List<String> =
        manifest.getJSONObject("taxonomy").getJSONArray("levels").toList { getString(it) }

    /** Classes by level, in the order of the output. */
    val classes: Map<String, List<String>> = levels.associateWith { level ->
        manifest.getJSONObject("class_order").getJSONArray(level).toList { getString(it) }
    }

    /** From which probability a class counts as present, by level. */
    val thresholds: Map<String, List<Float>> = levels.associateWith { level ->
        manifest.optJSONObject("thresholds")?.optJSONArray(level)?.toList { getDouble(it).toFloat() }
            ?: classes.getValue(level).map { 0.5f }
    }

    /** In Hz. */
    val sampleRate: Int = manifest.getJSONObject("audio").getInt("sample_rate")

    /** Samples that the model takes at once. */
    val windowSamples: Int = (manifest.optDouble("window_seconds", 10.0) * sampleRate).roundToInt()

    /** The families a class belongs to; "level:name" where a level is skipped. */
    fun parents(level: String, name: String): List<String> =
        manifest.getJSONObject("taxonomy").getJSONObject("parents")
            .optJSONObject(level)?.optJSONArray(name)?.toList { getString(it) } ?: emptyList()

    /** The present classes of a level with their probabilities, highest first. */
    fun tags(level: String, answer: Answer): List<Pair<String, Float>> =
        classes.getValue(level).zip(thresholds.getValue(level))
            .mapNotNull { (name, threshold) ->
                answer.getValue(level)[name]?.takeIf { it >= threshold }?.let { name to it }
            }
            .sortedByDescending { it.second }
}

private fun <T> JSONArray.toList(read: JSONArray.(Int) -> T): List<T> =
    (0 until length()).map { read(it) }

/** Reads a file from the ZIP archive behind the model, in which files are stored as they are. */
private fun storedEntry(file: ByteArray, name: String): ByteArray {
    val bytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN)
    val end = (file.size - 22 downTo maxOf(0, file.size - 22 - 0xffff))
        .firstOrNull { bytes.getInt(it) == 0x06054b50 }
        ?: throw IllegalArgumentException("The model carries no metadata; export it with hmic_keras.")
    var entry = end - bytes.getInt(end + 12)
    // Offsets may count from the archive's start instead of the file's.
    val shift = entry - bytes.getInt(end + 16)
    repeat(bytes.getShort(end + 10).toInt() and 0xffff) {
        val nameLength = bytes.getShort(entry + 28).toInt() and 0xffff
        if (String(file, entry + 46, nameLength, Charsets.UTF_8) == name) {
            require(bytes.getShort(entry + 10).toInt() == 0) { "'$name' is compressed." }
            val local = bytes.getInt(entry + 42) + shift
            val start = local + 30 + bytes.getShort(local + 26) + bytes.getShort(local + 28)
            return file.copyOfRange(start, start + bytes.getInt(entry + 20))
        }
        entry += 46 + nameLength + bytes.getShort(entry + 30) + bytes.getShort(entry + 32)
    }
    throw IllegalArgumentException("The model's metadata holds no '$name'.")
}
