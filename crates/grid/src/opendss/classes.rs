//! The classes that are read, with their properties in the order of the language, which values
//! without a name follow. What stands behind `-` is taken without effect on a power flow; behind
//! `!` it would have one and is refused, because it is not modelled.

/// What is done with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    WithoutEffect,
    Refused,
}

/// A class of the language.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    properties: &'static str,
}

impl Class {
    /// The property of that name, or the first one that begins so.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &'static str, Use)> {
        self.all()
            .find(|(_, property, _)| *property == name)
            .or_else(|| {
                self.all()
                    .find(|(_, property, _)| property.starts_with(name))
            })
    }

    /// The property at a place.
    pub(crate) fn at(&self, place: usize) -> Option<(usize, &'static str, Use)> {
        self.all().nth(place)
    }

    /// Objects of this class have no effect on a power flow at all.
    pub(crate) fn is_observer(&self) -> bool {
        self.properties.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = (usize, &'static str, Use)> + use<> {
        self.properties
            .split_ascii_whitespace()
            .map(|word| match word.as_bytes()[0] {
                b'-' => (&word[1..], Use::WithoutEffect),
                b'!' => (&word[1..], Use::Refused),
                _ => (word, Use::Read),
            })
            .enumerate()
            .map(|(place, (name, uses))| (place, name, uses))
    }
}

/// The class of that name.
pub(crate) fn class(name: &str) -> Option<&'static Class> {
    let name = if name == "circuit" { "vsource" } else { name };
    CLASSES.iter().find(|class| class.name == name)
}

static CLASSES: &[Class] = &[
    Class {
        name: "vsource",
        properties: "bus1 basekv pu angle frequency phases mvasc3 mvasc1 x1r1 x0r0 isc3 isc1 r1 \
            x1 r0 x0 -scantype !sequence !bus2 !z1 !z0 !z2 !puz1 !puz0 !puz2 -basemva -yearly \
            -daily -duty !model !puzideal -spectrum -basefreq enabled like",
    },
    Class {
        name: "line",
        properties: "bus1 bus2 linecode length phases r1 x1 r0 x0 c1 c0 rmatrix xmatrix cmatrix \
            switch -rg -xg -rho geometry units !spacing !wires !earthmodel !cncables !tscables !b1 \
            !b0 -seasons -ratings -linetype !epsrmedium !heightoffset !heightunit normamps \
            -emergamps -faultrate -pctperm -repair basefreq enabled like",
    },
    Class {
        name: "linecode",
        properties: "nphases r1 x1 r0 x0 c1 c0 units rmatrix xmatrix cmatrix basefreq normamps \
            -emergamps -faultrate -pctperm -repair !kron -rg -xg -rho !neutral !b1 !b0 -seasons \
            -ratings -linetype like",
    },
    Class {
        name: "wiredata",
        properties: "rdc rac runits gmrac gmrunits radius radunits normamps -emergamps diam \
            -seasons -ratings capradius like",
    },
    Class {
        name: "cndata",
        properties: "k diastrand gmrstrand rstrand epsr inslayer diains diacable rdc rac runits \
            gmrac gmrunits radius radunits normamps -emergamps diam -seasons -ratings !capradius \
            like",
    },
    Class {
        name: "tsdata",
        properties: "diashield tapelayer tapelap epsr inslayer diains diacable rdc rac runits \
            gmrac gmrunits radius radunits normamps -emergamps diam -seasons -ratings !capradius \
            like",
    },
    Class {
        name: "linespacing",
        properties: "nconds nphases x h units like",
    },
    Class {
        name: "linegeometry",
        properties: "nconds nphases cond wire x h units -normamps -emergamps reduce spacing wires \
            cncable tscable cncables tscables -seasons -ratings -linetype like",
    },
    Class {
        name: "transformer",
        properties: "phases windings wdg bus conn kv kva tap %r !rneut !xneut buses conns kvs \
            kvas taps xhl xht xlt xscarray -thermal -n -m -flrise -hsrise %loadloss %noloadloss \
            -normhkva -emerghkva -sub maxtap mintap numtaps -subname %imag ppm_antifloat %rs \
            -bank xfmrcode -xrconst xhl xht xlt leadlag -wdgcurrents -core -rdcohms -seasons \
            -ratings -normamps -emergamps -faultrate -pctperm -repair -basefreq enabled like",
    },
    Class {
        name: "xfmrcode",
        properties: "phases windings wdg conn kv kva tap %r !rneut !xneut conns kvs kvas taps xhl \
            xht xlt xscarray -thermal -n -m -flrise -hsrise %loadloss %noloadloss -normhkva \
            -emerghkva maxtap mintap numtaps %imag ppm_antifloat %rs like",
    },
    Class {
        name: "load",
        properties: "phases bus1 kv kw pf model yearly daily duty -growth conn kvar !rneut \
            !xneut status -class vminpu vmaxpu -vminnorm -vminemerg xfkva allocationfactor kva \
            -%mean -%stddev cvrwatts cvrvars !kwh -kwhdays -cfactor !cvrcurve -numcust zipv \
            -%seriesrl -relweight vlowpu -puxharm -xrharm -spectrum -basefreq enabled like",
    },
    Class {
        name: "generator",
        properties: "phases bus1 kv kw pf kvar model vminpu vmaxpu yearly daily duty \
            -dispmode -dispvalue conn !rneut !xneut -status -class !vpu -maxkvar -minkvar \
            -pvfactor -forceon -kva -mva -xd -xdp -xdpp -h -d -usermodel -userdata -shaftmodel \
            -shaftdata -dutystart -debugtrace -balanced -xrdp -spectrum -basefreq enabled like",
    },
    Class {
        name: "pvsystem",
        properties: "phases bus1 kv irradiance pmpp %pmpp -temperature pf conn kvar -kva -%cutin \
            -%cutout !effcurve !p-tcurve -%r -%x model vminpu vmaxpu -balanced -limitcurrent \
            yearly daily duty -tyearly -tdaily -tduty -class -usermodel -userdata -debugtrace \
            -varfollowinverter -dutystart -wattpriority -pfpriority -spectrum -basefreq enabled \
            like",
    },
    Class {
        name: "storage",
        properties: "phases bus1 kv conn kw kvar pf -kva -kwrated -kwhrated -dispmode \
            -dischargetrigger -chargetrigger duty daily yearly -timechargetrig -%stored \
            -%reserve -class vminpu vmaxpu -spectrum -basefreq enabled like",
    },
    Class {
        name: "capacitor",
        properties: "bus1 !bus2 phases kvar kv conn !cmatrix !cuf !r !xl !harm -numsteps states \
            -normamps -emergamps -faultrate -pctperm -repair -basefreq enabled like",
    },
    Class {
        name: "reactor",
        properties: "bus1 bus2 phases !kvar -kv !conn !rmatrix !xmatrix !parallel r x !rp !z1 !z2 \
            !z0 !z !rcurve !lcurve !lmh normamps -emergamps -faultrate -pctperm -repair -basefreq \
            enabled like",
    },
    Class {
        name: "regcontrol",
        properties: "transformer winding vreg band ptratio ctprim r x !bus delay -reversible \
            -revvreg -revband -revr -revx -tapdelay -debugtrace maxtapchange -inversetime \
            tapwinding !vlimit ptphase -revthreshold -revdelay -revneutral -eventlog \
            -remoteptratio tapnum -reset !ldc_z -rev_z -cogen -basefreq enabled like",
    },
    Class {
        name: "capcontrol",
        properties: "element terminal capacitor type ptratio ctratio onsetting offsetting delay \
            voltoverride vmax vmin delayoff -deadtime !ctphase !ptphase !vbus -eventlog !usermodel \
            !userdata !pctminkvar -reset -basefreq enabled like",
    },
    Class {
        name: "loadshape",
        properties: "npts interval mult !hour -mean -stddev csvfile !sngfile !dblfile action \
            qmult useactual -pmax -qmax sinterval minterval !pbase !qbase pmult !pqcsvfile \
            -memorymapping !interpolation like",
    },
    Class {
        name: "monitor",
        properties: "",
    },
    Class {
        name: "energymeter",
        properties: "",
    },
    Class {
        name: "sensor",
        properties: "",
    },
    Class {
        name: "relay",
        properties: "",
    },
    Class {
        name: "recloser",
        properties: "",
    },
    Class {
        name: "fuse",
        properties: "",
    },
    Class {
        name: "tcc_curve",
        properties: "",
    },
    Class {
        name: "growthshape",
        properties: "",
    },
    Class {
        name: "spectrum",
        properties: "",
    },
    Class {
        name: "tshape",
        properties: "",
    },
    Class {
        name: "priceshape",
        properties: "",
    },
    Class {
        name: "xycurve",
        properties: "",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_cut_short_and_places_follow_the_language() {
        let cases = [
            ("load", "bus", Some("bus1")),
            ("linecode", "nphase", Some("nphases")),
            ("transformer", "ppm", Some("ppm_antifloat")),
            ("transformer", "x", Some("xneut")),
            ("load", "nothing", None),
        ];
        for (name, property, expected) in cases {
            let found = class(name).unwrap().find(property).map(|found| found.1);
            assert_eq!(found, expected, "{name} {property}");
        }
        let (place, _, _) = class("vsource").unwrap().find("mvasc3").unwrap();
        assert_eq!(class("circuit").unwrap().at(place + 1).unwrap().1, "mvasc1");
    }
}
