//! A comparison as a picture: a panel for each mode and size, a row for each system, the floor as a line across them.

use super::row::Row;
use super::systems::Mode;
use super::table::{name, panels, rows_of};
use super::{Comparison, Left};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

const WIDTH: i32 = 920;
const MARGIN: i32 = 32;
/// Where bars begin, and where the longest one may end.
const BARS: (i32, i32) = (230, 800);
const HEADER: i32 = 104;
const PANEL_HEAD: i32 = 58;
const ROW: i32 = 46;
const PANEL_GAP: i32 = 18;
const FOOTER: i32 = 34;
const BAR: i32 = 15;

const INK: RGBColor = RGBColor(28, 36, 46);
const FAINT: RGBColor = RGBColor(112, 122, 134);
const RULE: RGBColor = RGBColor(226, 230, 235);
const FLOOR: RGBColor = RGBColor(194, 80, 30);
/// Gets and puts: of ours, and of the others.
const OURS: [RGBColor; 2] = [RGBColor(12, 110, 112), RGBColor(150, 203, 200)];
const OTHERS: [RGBColor; 2] = [RGBColor(92, 107, 126), RGBColor(190, 200, 211)];

const FAMILY: &str = "Helvetica, Arial, sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture as SVG.
///
/// # Errors
/// None that is known of: it is drawn into memory.
pub(super) fn svg(run: &Comparison) -> Result<String, Box<dyn Error>> {
    let panels = panels(run);
    let height = HEADER + FOOTER + panels.iter().map(|&(mode, bytes)| height(run, mode, bytes)).sum::<i32>();
    let mut text = String::new();
    let canvas =
        Canvas(SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area());
    canvas.0.fill(&WHITE)?;
    canvas.header(run)?;
    let mut top = HEADER;
    for (mode, block_bytes) in panels {
        canvas.panel(run, mode, block_bytes, top)?;
        top += self::height(run, mode, block_bytes);
    }
    let origin = &run.provenance;
    let source = format!(
        "{} x {}, {} · commit {} · run {}",
        origin.host.cpus, origin.host.cpu_model, origin.host.kernel, origin.commit, origin.run_id
    );
    canvas.text(&source, (MARGIN, height - FOOTER / 2 - 4), 13, FAINT, HPos::Left)?;
    canvas.0.present()?;
    drop(canvas);
    Ok(text)
}

fn absent_of(
    run: &Comparison,
    mode: Mode,
    block_bytes: usize,
) -> impl Iterator<Item = (&Left, &'static str)> {
    let absent = run.absent.iter().map(|left| (left, "absent"));
    let refused = run.refused.iter().map(|left| (left, "refused"));
    absent.chain(refused).filter(move |(left, _)| (left.mode, left.block_bytes) == (mode, block_bytes))
}

fn height(run: &Comparison, mode: Mode, block_bytes: usize) -> i32 {
    let rows = rows_of(run, mode, block_bytes).count() as i32;
    let left = absent_of(run, mode, block_bytes).count() as i32;
    PANEL_HEAD + ROW * rows + ROW * 2 / 3 * left + PANEL_GAP
}

struct Canvas<'a>(Area<'a>);

impl Canvas<'_> {
    fn header(&self, run: &Comparison) -> Result<(), Box<dyn Error>> {
        self.text("Blocks of KV cache, put and got", (MARGIN, 36), 26, INK, HPos::Left)?;
        let date = run.provenance.time.split('T').next().unwrap_or_default();
        let what = format!("One client, one block at a time, GB/s; every byte compared. {date}");
        self.text(&what, (MARGIN, 64), 15, FAINT, HPos::Left)?;
        let mut left = BARS.0;
        for (colours, label) in [(OURS, "Cascade"), (OTHERS, "others")] {
            for (colour, verb) in colours.into_iter().zip(["get", "put"]) {
                self.bar((left, 84), 14, 12, colour)?;
                self.text(&format!("{label}, {verb}"), (left + 20, 90), 13, FAINT, HPos::Left)?;
                left += 118;
            }
        }
        Ok(())
    }

    fn panel(
        &self,
        run: &Comparison,
        mode: Mode,
        block_bytes: usize,
        top: i32,
    ) -> Result<(), Box<dyn Error>> {
        let rows: Vec<&Row> = rows_of(run, mode, block_bytes).collect();
        self.line((MARGIN, top), (WIDTH - MARGIN, top), RULE)?;
        let title = format!("{mode:?}, {} MiB", block_bytes >> 20);
        self.text(&title, (MARGIN, top + 26), 19, INK, HPos::Left)?;
        let floor = rows.iter().map(|row| bound(row)).fold(0.0, f64::max);
        let most = rows.iter().flat_map(|row| [row.put.gbps, row.get.gbps]).fold(floor, f64::max);
        let scale = f64::from(BARS.1 - BARS.0) / most.max(f64::MIN_POSITIVE);
        let mut y = top + PANEL_HEAD;
        for row in &rows {
            self.row(row, y, scale)?;
            y += ROW;
        }
        if floor > 0.0 {
            let x = BARS.0 + (floor * scale) as i32;
            self.dashes(x, top + PANEL_HEAD - 8, y - 6)?;
            let what = if mode == Mode::Hot { "plain copy" } else { "plain read of the disk" };
            let text = format!("{what} {floor:.1}");
            self.text(&text, (x, top + PANEL_HEAD - 18), 13, FLOOR, HPos::Right)?;
        }
        for (left, what) in absent_of(run, mode, block_bytes) {
            let variant = if left.variant.is_empty() { String::new() } else { format!(", {}", left.variant) };
            let label = format!("{}{variant}", left.system);
            self.text(&label, (BARS.0 - 14, y + 10), 15, FAINT, HPos::Right)?;
            self.text(&format!("{what}: {}", short(&left.reason)), (BARS.0, y + 10), 13, FAINT, HPos::Left)?;
            y += ROW * 2 / 3;
        }
        Ok(())
    }

    fn row(&self, row: &Row, y: i32, scale: f64) -> Result<(), Box<dyn Error>> {
        let colours = if row.system == "cascade" { OURS } else { OTHERS };
        self.text(&name(row), (BARS.0 - 14, y + 9), 16, INK, HPos::Right)?;
        let version = row.identity.version.split(' ').next().unwrap_or_default();
        self.text(version, (BARS.0 - 14, y + 26), 12, FAINT, HPos::Right)?;
        for (i, (figures, colour)) in [&row.get, &row.put].into_iter().zip(colours).enumerate() {
            let (top, length) = (y + i as i32 * (BAR + 2), (figures.gbps * scale) as i32);
            self.bar((BARS.0, top), length.max(1), BAR, colour)?;
            let value = if figures.gbps < 10.0 {
                format!("{:.2}", figures.gbps)
            } else {
                format!("{:.1}", figures.gbps)
            };
            self.text(&value, (BARS.0 + length + 6, top + BAR / 2), 13, INK, HPos::Left)?;
        }
        Ok(())
    }

    fn text(
        &self,
        text: &str,
        at: (i32, i32),
        size: i32,
        colour: RGBColor,
        side: HPos,
    ) -> Result<(), Box<dyn Error>> {
        let style = (FAMILY, size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
        Ok(self.0.draw(&Text::new(text.to_owned(), at, style))?)
    }

    fn bar(&self, at: (i32, i32), width: i32, height: i32, colour: RGBColor) -> Result<(), Box<dyn Error>> {
        let corners = [at, (at.0 + width, at.1 + height)];
        Ok(self.0.draw(&Rectangle::new(corners, colour.filled()))?)
    }

    fn line(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), Box<dyn Error>> {
        Ok(self.0.draw(&PathElement::new(vec![from, to], colour.stroke_width(1)))?)
    }

    fn dashes(&self, x: i32, top: i32, bottom: i32) -> Result<(), Box<dyn Error>> {
        (top..bottom).step_by(7).try_for_each(|y| self.line((x, y), (x, (y + 4).min(bottom)), FLOOR))
    }
}

/// What gets of this row cannot be faster than.
fn bound(row: &Row) -> f64 {
    match (row.floor.disk_read_gbps, row.floor.disk_deep_read_gbps) {
        (Some(one), Some(deep)) => one.max(deep),
        _ => row.floor.memcpy_gbps.max(row.floor.nontemporal_gbps),
    }
}

/// As much of a reason as a line has room for.
fn short(reason: &str) -> String {
    const LONGEST: usize = 92;
    let line = reason.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::table::tests::comparison;

    #[test]
    fn every_system_is_in_the_picture_and_so_is_who_is_not() {
        let picture = svg(&comparison()).expect("it is drawn into memory");
        for shown in [
            "redis",
            "7.0.15",
            "plain copy 8.0",
            "plain read of the disk 2.0",
            "absent: no module named lmcache",
            "refused: 7 of 8",
            "run 1764313200-77",
        ] {
            assert!(picture.contains(shown), "{shown}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let cut = short(&"ä".repeat(200));
        assert!(cut.ends_with('…') && cut.chars().count() == 93);
        assert_eq!(short("one\ntwo"), "one");
    }
}
